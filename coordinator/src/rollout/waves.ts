/** Canary, waves and the rest as slices of the order of nodes: which of them runs, and what the next one waits for. Pure. */
import type { ImpactName } from "@drover/api";
import { approvalDigest, isApprovedBy } from "./approval.ts";
import type { Progress, ResolvedStrategy, RolloutInput } from "./model.ts";

export interface Slice {
  /** "canary" or "wave N"; the canary is wave 1 where there is one. */
  readonly name: string;
  /** Ranks from..to-1. */
  readonly from: number;
  readonly to: number;
  readonly soakMs: number;
}

/** What counts of the nodes of one wave. */
export interface WaveTally {
  /** Enforces the revision, soaking or not. */
  updated: number;
  soaking: number;
  /** Keeps the next wave from beginning: still to be moved, or on its way. */
  holding: number;
  /** Something of it is on its way. */
  isBegun: boolean;
  /** Index in IMPACTS of the most that is left to disturb. */
  impact: number;
}

export interface WaveState extends Slice, WaveTally {
  readonly phase: Progress["waves"][number]["phase"];
  readonly approvalDigest: string | undefined;
  /** Its approval is there, or not asked for. */
  readonly isApproved: boolean;
  /** Done, and its webhook passed where there is one after it. */
  readonly isPassed: boolean;
}

/** A wave that would be empty is none: numbers count those that are there. */
export function slicesOf(strategy: ResolvedStrategy, nodes: number, promotedWave: number): readonly Slice[] {
  const { canary, waves, soakMs } = strategy;
  const reaches = [...(canary === undefined ? [] : [canary.nodes]), ...waves, nodes];
  const slices: Slice[] = [];
  let from = 0;
  for (const [index, reach] of reaches.entries()) {
    const to = Math.min(reach, nodes);
    if (to <= from) continue;
    const wave = slices.length + 1;
    const isCanary = canary !== undefined && index === 0;
    const ownSoakMs = isCanary ? canary.soakMs : soakMs;
    slices.push({ name: isCanary ? "canary" : `wave ${wave}`, from, to, soakMs: wave <= promotedWave ? 0 : ownSoakMs });
    from = to;
  }
  return slices;
}

/** @param impacts least first */
export function statesOf(
  input: RolloutInput,
  slices: readonly Slice[],
  tallies: readonly WaveTally[],
  impacts: readonly ImpactName[],
): readonly WaveState[] {
  const states: WaveState[] = [];
  let isReached: boolean = true;
  for (const [index, slice] of slices.entries()) {
    const tally = tallies[index]!;
    const wave = index + 1;
    const isLast = wave === slices.length;
    const approval = approvalOf(input, wave, isLast, slice, impacts[tally.impact]!);
    const isDone: boolean = isReached && tally.holding === 0 && tally.updated > 0;
    const isGated: boolean = isDone && !isLast && input.strategy.hasWebhook && input.waveGates.get(wave)?.isPassed !== true;
    const phase = ((): WaveState["phase"] => {
      if (!isReached) return "Pending";
      if (isDone) return isGated ? "Gated" : "Complete";
      if (!approval.isApproved && tally.holding > 0 && !tally.isBegun) return "AwaitingApproval";
      return tally.soaking > 0 && tally.holding === tally.soaking ? "Soaking" : "Progressing";
    })();
    const isPassed: boolean = isDone && !isGated;
    states.push({ ...slice, ...tally, phase, ...approval, isPassed });
    isReached = isPassed;
  }
  return states;
}

/** In a small set waves fall together: an approval of a wave that is no longer there is asked of the last one. */
function approvalOf(
  { revision, strategy, approvals }: RolloutInput,
  wave: number,
  isLast: boolean,
  { from, to }: Slice,
  impact: ImpactName,
): { readonly approvalDigest: string | undefined; readonly isApproved: boolean } {
  const isAsked = strategy.approvals.has(wave) || (isLast && [...strategy.approvals].some((asked) => asked > wave));
  if (!isAsked) return { approvalDigest: undefined, isApproved: true };
  const shown = { revision, strategyDigest: strategy.digest, wave, nodes: to - from, impact };
  const given = approvals.get(wave);
  if (given !== undefined && isApprovedBy(given, shown)) return { approvalDigest: given, isApproved: true };
  return { approvalDigest: approvalDigest(shown), isApproved: false };
}
