/** `drover rollout pause|resume|promote|abort|undo|retry NAME`: says first how many machines it is about. */
import type { Rollout } from "@drover/api";
import { RolloutVerb } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { confirmed, count } from "../confirmation.ts";
import { decodeObject, type Session } from "../session.ts";

export type Verb = "pause" | "resume" | "promote" | "abort" | "undo" | "retry";

export interface ControlOptions {
  readonly reason: string;
  /** With resume; 0: none was typed. */
  readonly confirmedNodes: number;
  /** Do not ask. */
  readonly isSure: boolean;
}

const VERBS: { readonly [V in Verb]: { readonly verb: RolloutVerb; readonly what: string; readonly done: string } } = {
  pause: { verb: RolloutVerb.ROLLOUT_VERB_PAUSE, what: "nobody else begins; what is in change comes to its end", done: "paused" },
  resume: { verb: RolloutVerb.ROLLOUT_VERB_RESUME, what: "the others begin within its budgets", done: "resumed" },
  promote: { verb: RolloutVerb.ROLLOUT_VERB_PROMOTE, what: "the running wave is not soaked any more", done: "promoted" },
  abort: {
    verb: RolloutVerb.ROLLOUT_VERB_ABORT,
    what: "nobody else begins, for good; what is not confirmed yet is undone by its machine",
    done: "aborted",
  },
  undo: {
    verb: RolloutVerb.ROLLOUT_VERB_UNDO,
    what: "the set goes back to its last good revision, within its budgets",
    done: "taken back",
  },
  retry: { verb: RolloutVerb.ROLLOUT_VERB_RETRY, what: "those that failed are moved again", done: "retried" },
};

export async function controlRollout(session: Session, verb: Verb, words: string, options: ControlOptions): Promise<void> {
  const rollout = await rolloutFor(session, words.replace(/^(rollout|nodeset)\//, ""), verb === "undo");
  const { name } = rollout.metadata;
  const { verb: asked, what, done } = VERBS[verb];
  session.print(`${countText(rollout)}\n  ${verb}: ${what}`);
  if (verb === "undo" && !options.isSure) await confirmed(session, `Take rollout/${name} back?`, "--yes");
  const request = { name, verb: asked, reason: options.reason, confirmedNodes: options.confirmedNodes };
  const { started } = await session.connect().call("controlRollout", request);
  const watched = started === "" ? name : started;
  const by = started === "" ? "" : ` by rollout/${started}`;
  session.print(`rollout/${name} ${done}${by}; watch it: drover rollout status ${watched}`);
}

/** Before anything is asked for: how many, of what, and how far. */
export function countText({ metadata, spec, status }: Rollout): string {
  const head = `rollout/${metadata.name} of nodeset/${spec.nodeSet}`;
  if (status === undefined) return `${head} has not been looked at yet`;
  const { total, updated, inChange, failed, phase } = status;
  return `${head}: ${count(total)}, ${updated} updated, ${inChange} in change, ${failed} failed (${phase})`;
}

/** @param isSetToo undo also takes the set's name */
async function rolloutFor(session: Session, name: string, isSetToo: boolean): Promise<Rollout> {
  const { objects } = await session.connect().call("listObjects", { kind: "Rollout", labelSelector: "" });
  const rollouts = objects.map(decodeObject).filter((object): object is Rollout => object.kind === "Rollout");
  const found =
    rollouts.find(({ metadata }) => metadata.name === name) ??
    rollouts.find(({ spec, status }) => isSetToo && spec.nodeSet === name && status?.phase !== "Superseded");
  if (found !== undefined) return found;
  throw new CliError(exitCodes.notFound, `there is no rollout${isSetToo ? " or NodeSet" : ""} called ${name}`, "drover get rollouts");
}
