/** What a law of decide() is: it holds for every situation, or says in words how it was broken. */
import fc from "fast-check";
import { decide } from "../decide.ts";
import type { Decision, FleetNode, Progress } from "../model.ts";
import { type Drawn, drawn, type Situation } from "./situations.ts";

export interface Call extends Situation {
  readonly decisions: readonly Decision[];
  readonly progress: Progress;
  /** Nodes that the decisions bring into change, in the order of the decisions: moved or drained. */
  readonly begun: readonly FleetNode[];
}

export interface Law {
  /** A sentence; with the invariant's name where it is one. */
  readonly name: string;
  /** @returns how it was broken; undefined: it holds */
  readonly broken: (call: Call) => string | undefined;
}

export function callOf(situation: Situation): Call {
  const { input, fleet, elsewhere, now } = situation;
  return { ...situation, ...reckoned(fleet, decide(input, fleet, elsewhere, now)) };
}

export function reckoned(fleet: readonly FleetNode[], decisions: readonly Decision[]): Pick<Call, "decisions" | "progress" | "begun"> {
  const byId = new Map(fleet.map((node) => [node.nodeId, node]));
  const begun = new Set<FleetNode>();
  for (const decision of decisions) {
    if (decision.type === "move" || decision.type === "drain") begun.add(byId.get(decision.nodeId)!);
  }
  const progress = decisions.find((decision): decision is Progress => decision.type === "progress");
  if (progress === undefined) throw new Error("decide() told no progress");
  return { decisions, progress, begun: [...begun] };
}

/** The approver approves what the plan shows, or approved something else before. */
export function approved({ situation, approvedWaves, isApprovalRight }: Drawn): Situation {
  const { input, fleet, elsewhere, now } = situation;
  if (input.strategy.approvals.size === 0) return situation;
  const { progress } = callOf({ input, fleet, elsewhere, now });
  const approvals = new Map(
    approvedWaves.flatMap((wave): [number, string][] => {
      const digest = progress.waves[wave - 1]?.approvalDigest;
      return digest === undefined ? [] : [[wave, isApprovalRight ? digest : `${digest}-of-before`]];
    }),
  );
  return { ...situation, input: { ...input, approvals } };
}

export const situations: fc.Arbitrary<Situation> = drawn.map(approved);

export function propertyOf(law: Law): fc.IProperty<[Situation]> {
  return fc.property(situations, (situation) => {
    const words = law.broken(callOf(situation));
    if (words !== undefined) throw new Error(`${law.name}: ${words}`);
  });
}
