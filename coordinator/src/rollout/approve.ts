/** An approval as a change of a Rollout's spec, or what is not as the approver saw it. Pure. */
import { contentDigest, type Rollout } from "@drover/api";
import { type ApproveRolloutRequest } from "@drover/proto";
import { type Refusal, refuse } from "../refusal.ts";
import { timestamp } from "../resources/node-status.ts";
import { approvalDigest, type ApprovedWave, IMPACTS } from "./approval.ts";
import { ended, type SpecChange } from "./rollout-verbs.ts";

/** How far a wave's size is looked for to say what it was. */
const SIZES_TRIED = 200;

export function approvalChange(
  rollout: Rollout,
  { wave, digest }: Pick<ApproveRolloutRequest, "wave" | "digest">,
  by: string,
  nowMs: number,
): SpecChange {
  const { metadata, spec, status } = rollout;
  const refusal = ended(rollout, "approve");
  if (refusal !== undefined) return refusal;
  const waves = status?.waves;
  if (waves === undefined) return refuse("NotReady", `Rollout/${metadata.name} has not been looked at yet; try again in a moment`);
  const asked = waves.flatMap(({ approvalDigest: own }, index) => (own === undefined ? [] : [index + 1]));
  const shown = waves[wave - 1];
  if (shown?.approvalDigest === undefined) {
    const which = asked.length === 0 ? "no wave of it waits for an approver" : `an approver is asked for wave ${asked.join(", ")}`;
    const what = shown === undefined ? `has no wave ${wave} but ${waves.length}` : `asks nobody to approve wave ${wave}`;
    return refuse("NoApprovalAsked", `Rollout/${metadata.name} ${what}; ${which}`);
  }
  if (shown.approvalDigest !== digest) return changed(rollout, wave, digest);
  const before = (spec.approvals ?? []).find((approval) => approval.wave === wave);
  if (before?.digest === digest) return { ok: true, spec, message: "" };
  const approvals = [...(spec.approvals ?? []).filter((approval) => approval !== before), { wave, digest, by, at: timestamp(nowMs) }];
  return { ok: true, spec: { ...spec, approvals }, message: `${shown.name} of ${shown.nodes} nodes, ${digest}` };
}

function changed(rollout: Rollout, wave: number, digest: string): Refusal {
  const { metadata, status } = rollout;
  const { nodes, approvalDigest: now } = status!.waves![wave - 1]!;
  const seen = { ...seenAs(rollout, wave, digest) };
  const is = seenAs(rollout, wave, now!);
  const other = status!.waves!.findIndex((each) => each.approvalDigest === digest);
  const what =
    other >= 0
      ? `that is the digest of wave ${other + 1}`
      : seen.nodes === undefined
        ? "revision, strategy, size or impact are others than those that the digest is of"
        : [
            ...(seen.nodes === nodes ? [] : [`it had ${seen.nodes} nodes and has ${nodes}`]),
            ...(seen.impact === is?.impact ? [] : [`its impact was at most ${seen.impact} and is ${is?.impact ?? "another"}`]),
          ].join(", ");
  return refuse(
    "Conflict",
    `wave ${wave} of Rollout/${metadata.name} is not what the digest approves: ${what}; look at it again with: ` +
      `drover rollout approve ${metadata.name} --wave ${wave} (now ${now})`,
  );
}

/** What the digest was of, where only size and impact were others. */
function seenAs({ spec, status }: Rollout, wave: number, digest: string): Pick<ApprovedWave, "nodes" | "impact"> | undefined {
  const { nodes } = status!.waves![wave - 1]!;
  const same = { revision: spec.revision, strategyDigest: contentDigest(spec.strategy), wave };
  for (let away = 0; away <= SIZES_TRIED; away += 1) {
    for (const size of away === 0 ? [nodes] : [nodes - away, nodes + away]) {
      if (size < 0) continue;
      const impact = IMPACTS.find((each) => approvalDigest({ ...same, nodes: size, impact: each }) === digest);
      if (impact !== undefined) return { nodes: size, impact };
    }
  }
  return undefined;
}
