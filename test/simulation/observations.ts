/** What the simulation sees happen, at the moment it happens: the input of the invariant checkers and of the transcript. */
import type { Repair } from "@drover/api";
import type { Plan, StepKind } from "@drover/proto";

export interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
}

export type Observation =
  /** Committed to the coordinator's store: a node's desired pair. */
  | ({ readonly type: "decided"; readonly node: string; readonly revision: string; readonly rollout: string } & Pair)
  /** A whole zone is cut off, or is there again. */
  | { readonly type: "zone"; readonly zone: string; readonly nodes: readonly string[]; readonly isSilent: boolean }
  | { readonly type: "rollout"; readonly name: string; readonly phase: string; readonly reason: string }
  /** Committed to the coordinator's store: a repair, and how far it has come. */
  | { readonly type: "repair"; readonly name: string; readonly node: string; readonly repair: Repair }
  /** Durable in a node's journal. */
  | ({ readonly type: "accepted"; readonly node: string; readonly plan: Plan } & Pair)
  | ({ readonly type: "intent"; readonly node: string; readonly kind: StepKind } & Pair)
  | ({ readonly type: "done"; readonly node: string; readonly step: string } & Pair)
  | ({ readonly type: "ended"; readonly node: string; readonly outcome: string; readonly isOver: boolean } & Pair)
  /** Durable in a node's outbox: the plan has come to its end on the machine. Its journal says so a moment later, and nothing is done in between. */
  | ({ readonly type: "finished"; readonly node: string } & Pair)
  /** Durable on a node: what a change that can cut it off found there, to be put back unless it is confirmed; and that it will not be put back any more. */
  | ({ readonly type: "tried"; readonly node: string; readonly phase: string } & Pair)
  | { readonly type: "untried"; readonly node: string }
  /** The coordinator's word in a session that a change may stay. */
  | ({ readonly type: "confirmed"; readonly node: string } & Pair)
  /** An agent begins to run, or no longer does; in which boot of its machine, counted. */
  | { readonly type: "life"; readonly node: string; readonly isRunning: boolean; readonly boot: number }
  /** Sent by a node in a session. */
  | ({ readonly type: "refused"; readonly node: string; readonly reason: string } & Pair)
  /** Done to a machine. */
  | { readonly type: "effect"; readonly node: string; readonly kind: string; readonly target: string; readonly value: string }
  /** What somebody else has done to a machine; value of a kernel parameter, else empty. */
  | { readonly type: "drifted"; readonly node: string; readonly target: string; readonly value: string }
  /** A batch in the coordinator's report log. */
  | { readonly type: "logged"; readonly node: string; readonly epoch: string; readonly seq: number; readonly digest: number }
  /** The coordinator sends its cumulative ack. */
  | { readonly type: "acknowledged"; readonly node: string; readonly epoch: string; readonly seq: number }
  /** A node's outbox forgets batches. */
  | { readonly type: "freed"; readonly node: string; readonly epoch: string; readonly seq: number };

export type Observe = (observation: Observation) => void;
