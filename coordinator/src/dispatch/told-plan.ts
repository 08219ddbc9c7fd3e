/**
 * What decided plans say, apart from whose they are and when they were made: in a rollout of 100,000 nodes that is the same for nearly all of them, and is
 * read once. Pure but for what it remembers.
 */
import { Plan } from "@drover/proto";
import type { DesiredNode } from "../records.ts";

export type ToldPlan = Readonly<Pick<Plan, "steps" | "probes" | "impactBound" | "confirmDeadlineMs">>;

/** More than are told at once; where each node's plan is its own, in a cluster, few are kept for nothing. */
const MAX_TOLD = 100;
const told = new Map<string, ToldPlan>();

/** The same object for plans that say the same, as long as it is remembered. Nobody may change it. */
export function toldPlan({ plan }: Pick<DesiredNode, "plan">): ToldPlan {
  const bytes = Buffer.from(plan, "base64");
  const content = bytes.subarray(ownLength(bytes));
  const key = content.toString("latin1");
  let known = told.get(key);
  if (known === undefined) {
    if (told.size >= MAX_TOLD) told.clear();
    const { steps, probes, impactBound, confirmDeadlineMs } = Plan.decode(content);
    told.set(key, (known = { steps, probes, impactBound, confirmDeadlineMs }));
  }
  return known;
}

/** Fields of a Plan up to this one are node, pair, revision and times; what is written behind them is read whatever its order. */
const LAST_OWN_FIELD = 6;
const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** Bytes at the beginning that belong to this node and moment alone. */
function ownLength(bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at]!;
    if (tag >> 3 > LAST_OWN_FIELD) break;
    const wireType = tag & 7;
    if (wireType !== VARINT && wireType !== LENGTH_DELIMITED) break;
    let [value, shift, end] = [0, 1, at + 1];
    for (; bytes[end]! >= 128; end += 1, shift *= 128) value += (bytes[end]! - 128) * shift;
    value += bytes[end]! * shift;
    at = end + 1 + (wireType === VARINT ? 0 : value);
  }
  return Math.min(at, bytes.length);
}
