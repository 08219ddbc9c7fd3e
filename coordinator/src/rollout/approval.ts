/** What an approver approves: a digest that changes with everything he was shown, so that what changes later is not approved silently. Pure. */
import { contentDigest, type ImpactName } from "@drover/api";

export interface ApprovedWave {
  readonly revision: string;
  /** Of the strategy, as in ResolvedStrategy. */
  readonly strategyDigest: string;
  /** Counted from 1. */
  readonly wave: number;
  readonly nodes: number;
  /** The most that the nodes of the wave which still have to move can be disturbed. */
  readonly impact: ImpactName;
}

/** Least first. */
export const IMPACTS: readonly ImpactName[] = ["none", "live", "restart", "drain", "reboot"];

/** @returns "sha256:" and hex */
export function approvalDigest({ revision, strategyDigest, wave, nodes, impact }: ApprovedWave): string {
  return contentDigest({ revision, strategyDigest, wave, nodes, impact });
}

/** Whoever approved more has approved this: as nodes of a wave arrive, the most that is left to disturb may only fall. */
export function isApprovedBy(digest: string | undefined, shown: ApprovedWave): boolean {
  if (digest === undefined) return false;
  return IMPACTS.slice(IMPACTS.indexOf(shown.impact)).some((impact) => approvalDigest({ ...shown, impact }) === digest);
}
