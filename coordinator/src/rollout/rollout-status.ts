/** How a rollout shows itself: what decide() said of it, and what was worked out when it began. Pure. */
import type { Rollout } from "@drover/api";
import { timestamp } from "../resources/node-status.ts";
import { fingerprintParts } from "./fingerprint.ts";
import type { Decision, FleetNode, Progress } from "./model.ts";
import type { RolloutImpact } from "./rollout-impact.ts";

type Status = NonNullable<Rollout["status"]>;

const MAX_WAITING_SHOWN = 200;
const MAX_KNOWN_FAILURES = 50;

/** Whether it was looked at before: its impact and the failures known before it are worked out once, and kept. */
export function isBegun({ status }: Rollout): boolean {
  return status?.impact !== undefined;
}

/** The status of a rollout that nobody has looked at yet. @param known failures of the set from before it, as fingerprintOf words them */
export function begunStatus(rollout: Rollout, impact: RolloutImpact, known: ReadonlySet<string>): Status {
  const fingerprints = [...known].sort().slice(0, MAX_KNOWN_FAILURES).map(knownFailure);
  return { ...rollout.status!, impact, ...(fingerprints.length === 0 ? {} : { fingerprints }) };
}

/** Fingerprints that nodes of the set showed before the rollout began. */
export function knownFingerprints({ status }: Rollout): ReadonlySet<string> {
  return new Set((status?.fingerprints ?? []).filter(({ isNew }) => !isNew).map(({ step, error }) => `${step}: ${error}`));
}

/** What failed in the set so far: in its other rollouts, and what its nodes show now of changes that this one did not make. */
export function failuresBefore(rollout: Rollout, others: Iterable<Rollout>, fleet: readonly FleetNode[]): ReadonlySet<string> {
  const known = new Set<string>();
  for (const { metadata, spec, status } of others) {
    if (spec.nodeSet !== rollout.spec.nodeSet || metadata.name === rollout.metadata.name) continue;
    for (const { step, error } of status?.fingerprints ?? []) known.add(`${step}: ${error}`);
  }
  for (const { desired, observed } of fleet) {
    if (observed?.fingerprint !== undefined && desired?.rollout !== rollout.metadata.name) known.add(observed.fingerprint);
  }
  return known;
}

export interface Pace {
  /** Nodes that this rollout has moved and that are done. */
  readonly done: number;
  readonly firstDecidedAtMs: number;
  readonly lastEnforcedAtMs: number;
}

export function paceOf(rolloutName: string, fleet: readonly Pick<FleetNode, "desired">[]): Pace | undefined {
  let [done, first, last] = [0, Infinity, 0];
  for (const { desired } of fleet) {
    if (desired?.rollout !== rolloutName) continue;
    const { decidedAtMs, enforcedAtMs } = desired;
    first = Math.min(first, decidedAtMs);
    if (enforcedAtMs === undefined) continue;
    done += 1;
    last = Math.max(last, enforcedAtMs);
  }
  return done === 0 ? undefined : { done, firstDecidedAtMs: first, lastEnforcedAtMs: last };
}

/** @param pace asked only when more nodes are updated than before */
export function statusOf(rollout: Rollout, decisions: readonly Decision[], now: number, pace: () => Pace | undefined): Rollout["status"] {
  const progress = decisions.find((decision) => decision.type === "progress");
  if (progress === undefined) return rollout.status;
  const { phase, reason, message, total, updated, inChange, failed, waitingCounts, waves } = progress;
  const waiting = decisions.flatMap((decision) =>
    decision.type === "wait" ? [{ node: decision.name, reason: decision.reason, message: decision.message }] : [],
  );
  const before = rollout.status;
  const finishedAt = phase === "Complete" ? (before?.phase === "Complete" ? before.finishedAt : timestamp(now)) : undefined;
  const fingerprints = fingerprintsOf(progress, knownFingerprints(rollout));
  const estimatedEnd = estimatedEndOf(before, progress, pace);
  return {
    phase,
    reason,
    message,
    total,
    updated,
    inChange,
    failed,
    waiting: waiting.slice(0, MAX_WAITING_SHOWN),
    waitingCounts: { ...waitingCounts },
    waves: waves.map(({ approvalDigest, ...wave }) => ({ ...wave, ...(approvalDigest === undefined ? {} : { approvalDigest }) })),
    ...(before?.impact === undefined ? {} : { impact: before.impact }),
    ...(fingerprints.length === 0 ? {} : { fingerprints }),
    ...(estimatedEnd === undefined ? {} : { estimatedEnd }),
    ...(before?.startedAt === undefined ? {} : { startedAt: before.startedAt }),
    ...(finishedAt === undefined ? {} : { finishedAt }),
    observedGeneration: rollout.metadata.generation ?? 1,
  };
}

function fingerprintsOf({ fingerprints }: Progress, known: ReadonlySet<string>): NonNullable<Status["fingerprints"]> {
  const shown = new Set(fingerprints.map(({ fingerprint }) => fingerprint));
  return [
    ...fingerprints.map(({ fingerprint, isNew, nodes }) => ({ ...fingerprintParts(fingerprint), isNew, nodes: [...nodes] })),
    ...[...known].filter((fingerprint) => !shown.has(fingerprint)).map(knownFailure),
  ];
}

/** Kept although no node shows it now: if one does, it is not this rollout's doing. */
function knownFailure(fingerprint: string): NonNullable<Status["fingerprints"]>[number] {
  return { ...fingerprintParts(fingerprint), isNew: false, nodes: [] };
}

/** As fast as until now. Said anew only when another node is done, or it would be written with each look. */
function estimatedEndOf(before: Rollout["status"], { phase, updated, total }: Progress, pace: () => Pace | undefined): string | undefined {
  if (phase !== "Progressing" || updated >= total) return undefined;
  if (before?.phase === phase && before.updated === updated && before.total === total) return before.estimatedEnd;
  const so = pace();
  if (so === undefined) return undefined;
  const perNodeMs = Math.max(0, so.lastEnforcedAtMs - so.firstDecidedAtMs) / so.done;
  return timestamp(Math.round(so.lastEnforcedAtMs + perNodeMs * (total - updated)));
}
