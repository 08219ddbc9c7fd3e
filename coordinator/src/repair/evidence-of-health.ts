/** Whether a node is right after a rung, by what was told after it only. Pure. */
import type { RepairNode } from "./model.ts";
import { type Attempt, millis } from "./standing.ts";

/** What was told just before the rung is still on its way for a while, and a unit that dies at once has then died. */
const STEADY_MS = 30_000;

export type Health = { readonly isRight: true } | { readonly isRight: false; readonly message: string };

const not = (message: string): Health => ({ isRight: false, message });

/** @param attempt whose rung was done */
export function healthSince(node: RepairNode, attempt: Attempt, now: number): Health {
  const doneMs = millis(attempt.doneAt) ?? now;
  if (now < doneMs + STEADY_MS || now < node.verdictSinceMs + STEADY_MS) {
    if (node.verdict === "healthy") return not(`healthy; must stay so for ${STEADY_MS / 1000} s`);
  }
  if (node.verdict !== "healthy") return not(`${node.verdict} (${node.verdictReason})`);
  if ((node.lastBeatAtMs ?? 0) <= doneMs) return not("it has not beaten since");
  if (attempt.rung === "Reboot" && (node.bootId === "" || node.bootId === attempt.bootId)) return not("it has not told of another boot");
  const { plan, kubernetes } = node;
  if (plan !== undefined) {
    if (attempt.generation !== undefined && plan.generation < attempt.generation) return not("its generation is not decided");
    if (plan.outcome !== "enforced")
      return not(`generation ${plan.generation} is ${plan.outcome === "none" ? "not reported" : plan.message}`);
    if (plan.hasOpenDrift) return not("it has drift that is not repaired");
  }
  if (kubernetes === undefined) return plan?.isJoining === true ? not("it is not in its cluster") : { isRight: true };
  if (kubernetes.ready !== "True") return not(`Kubernetes Ready is ${kubernetes.ready}`);
  if ((kubernetes.readAtMs ?? 0) <= doneMs) return not("its cluster has not been asked since");
  return { isRight: true };
}
