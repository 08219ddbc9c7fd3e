/** `drover wait KIND/NAME | KIND -l SELECTOR --for=condition=TYPE[=STATUS] | phase=PHASE | delete`. */
import type { DroverObject } from "@drover/api";
import { WatchEventType } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { decodeObject, kindFrom, type Session, targetFrom } from "../session.ts";

export type Goal =
  | { readonly type: "condition"; readonly condition: string; readonly status: string }
  | { readonly type: "phase"; readonly phase: string }
  | { readonly type: "delete" };

/** @throws CliError when the text is no goal */
export function parseGoal(text: string): Goal {
  const [type, name = "", status = "True"] = text.split("=");
  if (type === "delete" && name === "") return { type: "delete" };
  if (type === "condition" && name !== "") return { type: "condition", condition: name, status };
  if (type === "phase" && name !== "") return { type: "phase", phase: name };
  throw new CliError(
    exitCodes.usage,
    `--for=${text} is no goal: condition=TYPE, condition=TYPE=False, phase=PHASE or delete`,
    "drover wait node/NAME --for=condition=InSync",
  );
}

/** Whether an object has reached the goal; undefined: it ended in a way that the goal cannot be reached any more. */
export function judge(goal: Goal, object: DroverObject): boolean | undefined {
  const status =
    "status" in object
      ? (object.status as { phase?: string; conditions?: readonly { type: string; status: string }[] } | undefined)
      : undefined;
  if (goal.type === "delete") return false;
  const reached =
    goal.type === "phase"
      ? status?.phase?.toLowerCase() === goal.phase.toLowerCase()
      : status?.conditions?.some(
          (condition) => condition.type === goal.condition && condition.status.toLowerCase() === goal.status.toLowerCase(),
        ) === true;
  if (reached) return true;
  if (object.kind === "Rollout" && (status?.phase === "Stopped" || status?.phase === "Superseded" || status?.phase === "Complete"))
    return undefined;
  return false;
}

export async function waitFor(session: Session, words: readonly string[], selector: string, goal: Goal, timeoutMs: number): Promise<void> {
  const target = selector === "" ? targetFrom(words) : { kind: kindFrom(words[0] ?? ""), name: "" };
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([session.signal, timeout]);
  const waiting = new Map<string, DroverObject>();
  let isComplete = false;
  let isAnyMet = false;
  const request = { kind: target.kind, labelSelector: selector, name: target.name, fromRevision: 0 };
  for await (const event of session.connect().stream("watchObjects", request, signal)) {
    if (event.type === WatchEventType.WATCH_EVENT_TYPE_BOOKMARK) {
      isComplete = true;
    } else {
      const object = decodeObject(event.object);
      const { name } = object.metadata;
      if (event.type === WatchEventType.WATCH_EVENT_TYPE_DELETED) {
        if (goal.type !== "delete")
          throw new CliError(exitCodes.notFound, `${target.kind.toLowerCase()}/${name} was deleted while waiting`);
        waiting.delete(name);
      } else {
        const verdict = judge(goal, object);
        if (verdict === undefined) {
          const status = (object as { status?: { phase?: string; reason?: string; message?: string } }).status;
          throw new CliError(
            exitCodes.degraded,
            `rollout/${name} is ${status?.phase}${status?.reason && status.reason !== status.phase ? `: ${status.reason}` : ""}${status?.message ? `: ${status.message}` : ""}`,
            `drover describe rollout ${name}`,
          );
        }
        if (verdict) {
          if (waiting.delete(name) || !isComplete) session.print(`${target.kind.toLowerCase()}/${name} ${goal.type} met`);
          isAnyMet = true;
        } else waiting.set(name, object);
      }
    }
    if (isComplete && waiting.size === 0) {
      if (!isAnyMet && goal.type !== "delete")
        throw new CliError(
          exitCodes.notFound,
          `there is no ${target.kind} ${target.name === "" ? `for ${selector}` : `called ${target.name}`}`,
          `drover get ${target.kind.toLowerCase()}s`,
        );
      return;
    }
  }
  if (timeout.aborted) {
    // Nothing is waiting yet when the time was up before the coordinator had told the present state.
    const [first = target.name] = waiting.keys();
    const kind = target.kind.toLowerCase();
    throw new CliError(
      exitCodes.timeout,
      `not met within ${timeoutMs / 1000} s: ${[...waiting.keys()].join(", ") || target.name || selector}`,
      first === "" ? `drover get ${kind}s -l '${selector}'` : `drover describe ${kind} ${first}`,
    );
  }
}
