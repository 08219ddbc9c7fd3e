/** pause, resume, promote, abort and retry as changes of a Rollout's spec, or why they cannot be. Pure. */
import type { Rollout } from "@drover/api";
import { type ControlRolloutRequest, RolloutVerb } from "@drover/proto";
import { type Refusal, refuse } from "../refusal.ts";
import { timestamp } from "../resources/node-status.ts";

export type Verb = "pause" | "resume" | "promote" | "abort" | "undo" | "retry";

export const VERBS: { readonly [V in RolloutVerb]?: Verb } = {
  [RolloutVerb.ROLLOUT_VERB_PAUSE]: "pause",
  [RolloutVerb.ROLLOUT_VERB_RESUME]: "resume",
  [RolloutVerb.ROLLOUT_VERB_PROMOTE]: "promote",
  [RolloutVerb.ROLLOUT_VERB_ABORT]: "abort",
  [RolloutVerb.ROLLOUT_VERB_UNDO]: "undo",
  [RolloutVerb.ROLLOUT_VERB_RETRY]: "retry",
};

export interface Asking {
  readonly rollout: Rollout;
  readonly confirmedNodes: ControlRolloutRequest["confirmedNodes"];
  /** Nodes of the set now. */
  readonly nodes: number;
  readonly nowMs: number;
}

/** The same spec: it is so already. */
export type SpecChange = { readonly ok: true; readonly spec: Rollout["spec"]; readonly message: string } | Refusal;

export const specChanges: { readonly [V in Exclude<Verb, "undo">]: (asking: Asking) => SpecChange } = {
  pause({ rollout }) {
    const { spec } = rollout;
    return ended(rollout, "pause") ?? { ok: true, spec: spec.paused === true ? spec : { ...spec, paused: true }, message: "" };
  },
  resume,
  promote,
  abort({ rollout }) {
    const { spec } = rollout;
    if (spec.aborted === true) return { ok: true, spec, message: "" };
    return ended(rollout, "abort") ?? { ok: true, spec: { ...spec, aborted: true }, message: "" };
  },
  retry({ rollout, nowMs }) {
    const { metadata, spec, status } = rollout;
    const refusal = status?.phase === "Complete" && status.failed > 0 ? undefined : ended(rollout, "retry");
    if (refusal !== undefined) return refusal;
    if ((status?.failed ?? 0) === 0) {
      const next = spec.paused === true ? `it is paused; go on with: drover rollout resume ${metadata.name}` : statusCommand(rollout);
      return refuse("NothingToRetry", `no node of Rollout/${metadata.name} has failed; ${next}`);
    }
    return { ok: true, spec: { ...spec, retriedAt: timestamp(nowMs) }, message: `${status?.failed} failed` };
  },
};

function resume({ rollout, confirmedNodes, nodes }: Asking): SpecChange {
  const { metadata, spec, status } = rollout;
  const { name } = metadata;
  const refusal = ended(rollout, "resume");
  if (refusal !== undefined) return refusal;
  const command = `drover rollout resume ${name} --nodes ${nodes}`;
  if (confirmedNodes !== 0 && confirmedNodes !== nodes) {
    const message = `NodeSet/${spec.nodeSet} has ${nodes} nodes, not ${confirmedNodes}; look at them, then: ${command}`;
    return refuse("CountDiffers", message);
  }
  const isAll = spec.strategy.maxUnavailable === "100%";
  if (isAll && confirmedNodes === 0 && spec.confirmedNodes !== nodes) {
    return refuse("CountDiffers", `it would move all ${nodes} nodes of NodeSet/${spec.nodeSet} at once; confirm the count: ${command}`);
  }
  const { paused, ...rest } = spec;
  const isNew = isAll && confirmedNodes !== 0 && spec.confirmedNodes !== confirmedNodes;
  if (paused !== true && !isNew) {
    const next =
      status?.phase === "Stopped"
        ? `it has stopped (${status.message}); try the failed nodes again with: drover rollout retry ${name}`
        : statusCommand(rollout);
    return refuse("NotPaused", `Rollout/${name} is not paused; ${next}`);
  }
  const message = isNew ? `${nodes} nodes at once are confirmed` : "";
  return { ok: true, spec: isNew ? { ...rest, confirmedNodes } : rest, message };
}

/** The wave that runs, or waits to: an approval that is lacking is an approver's to give. */
function promote({ rollout }: Asking): SpecChange {
  const { metadata, spec, status } = rollout;
  const refusal = ended(rollout, "promote");
  if (refusal !== undefined) return refusal;
  const waves = status?.waves ?? [];
  const index = waves.findIndex(({ phase }) => phase !== "Complete" && phase !== "Pending");
  const wave = waves[index];
  if (wave === undefined) return refuse("NotReady", `no wave of Rollout/${metadata.name} has begun yet; ${statusCommand(rollout)}`);
  if (wave.phase === "AwaitingApproval") {
    const message = `${wave.name} waits for an approver, which promoting does not replace: drover rollout approve ${metadata.name} --wave ${index + 1}`;
    return refuse("NotReady", message);
  }
  const promotedWave = Math.max(index + 1, spec.promotedWave ?? 0);
  return { ok: true, spec: spec.promotedWave === promotedWave ? spec : { ...spec, promotedWave }, message: wave.name };
}

/** Why nothing can be changed of it any more. */
export function ended({ metadata, spec, status }: Rollout, verb: string): Refusal | undefined {
  const name = `Rollout/${metadata.name}`;
  if (status?.phase === "Superseded") {
    return refuse("RolloutEnded", `${name} was superseded; ${verb} the one that moves the set now: drover get rollouts`);
  }
  if (spec.aborted === true) {
    const undo = `go back with: drover rollout undo ${metadata.name}, or apply the change again`;
    return refuse("RolloutEnded", `${name} was aborted for good, so that there is nothing to ${verb}; ${undo}`);
  }
  if (status?.phase !== "Complete") return undefined;
  return refuse(
    "RolloutEnded",
    `${name} is complete, so that there is nothing to ${verb}; go back with: drover rollout undo ${metadata.name}`,
  );
}

function statusCommand({ metadata }: Rollout): string {
  return `see: drover rollout status ${metadata.name}`;
}
