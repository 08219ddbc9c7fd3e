/**
 * The nodes of a set in the order of its waves, each sorted out roughly: done, fresh, or to be looked at. Remembered from call to call, so that a call
 * after which few nodes changed looks at those few. What is remembered follows from the fleet alone: without it decide() says the same.
 */
import type { ImpactName } from "@drover/api";
import { IMPACTS } from "./approval.ts";
import { type Place, Topology } from "./budget.ts";
import type { Fleet, FleetNode, Labels, ResolvedStrategy, RolloutInput } from "./model.ts";
import { hasActed, isBeyond } from "./standing.ts";

/** To be looked at in each call. */
export const RESTLESS = 0;
/** Updated, soaked and right; its neighbours need not care. */
export const DONE = 1;
/** Nothing against it and nothing begun: it only has to be its turn. */
export const FRESH = 2;

export class RollCall {
  readonly topology: Topology;
  /** By rank: index in the fleet, how it is, and the rest that is needed of the many. */
  readonly order: Uint32Array;
  readonly ease: Uint8Array;
  readonly impacts: Uint8Array;
  readonly places: Place[];
  readonly #ranks: Uint32Array;
  readonly #key: string;
  readonly #revision: string;
  readonly #longestSoakMs: number;
  #fleet: Fleet;
  #nowMs: number;

  constructor(input: RolloutInput, fleet: Fleet, now: number) {
    const { strategy } = input;
    this.#key = keyOf(input);
    this.#revision = input.revision;
    this.#longestSoakMs = longestSoakMs(strategy);
    this.#fleet = fleet;
    this.#nowMs = now;
    this.topology = new Topology(strategy);
    this.order = ordered(fleet, strategy);
    this.#ranks = new Uint32Array(fleet.length);
    this.ease = new Uint8Array(fleet.length);
    this.impacts = new Uint8Array(fleet.length);
    this.places = [];
    for (let rank = 0; rank < fleet.length; rank += 1) {
      const index = this.order[rank]!;
      this.#ranks[index] = rank;
      this.places.push(this.topology.add(fleet[index]!.labels));
      this.#note(rank, fleet[index]!);
    }
  }

  /** Brings it up to this fleet. @returns false when it has to be made anew */
  follow(input: RolloutInput, fleet: Fleet, now: number): boolean {
    const before = this.#fleet;
    if (fleet.length !== before.length || now < this.#nowMs || keyOf(input) !== this.#key) return false;
    this.#nowMs = now;
    for (let index = 0; index < fleet.length; index += 1) {
      const node = fleet[index]!;
      const was = before[index]!;
      if (node === was) continue;
      if (node.name !== was.name || node.nodeId !== was.nodeId || !isSame(node.labels, was.labels)) return false;
      this.#note(this.#ranks[index]!, node);
    }
    this.#fleet = fleet;
    return true;
  }

  node(rank: number): FleetNode {
    return this.#fleet[this.order[rank]!]!;
  }

  impact(rank: number): ImpactName {
    return IMPACTS[this.impacts[rank]!]!;
  }

  /** Time alone may have made it done. */
  noteAgain(rank: number): void {
    this.#note(rank, this.node(rank));
  }

  #note(rank: number, node: FleetNode): void {
    this.impacts[rank] = IMPACTS.indexOf(node.impact);
    this.ease[rank] = easeOf(node, this.#revision, this.#longestSoakMs, this.#nowMs);
  }
}

/** By rollout; those used least recently are forgotten. */
const remembered = new Map<string, { readonly call: RollCall; readonly size: number }>();
const MAX_NODES_REMEMBERED = 500_000;
const MAX_REMEMBERED = 200;

export function rollCallOf(input: RolloutInput, fleet: Fleet, now: number): RollCall {
  const before = remembered.get(input.name);
  remembered.delete(input.name);
  const call = before?.call.follow(input, fleet, now) === true ? before.call : new RollCall(input, fleet, now);
  remembered.set(input.name, { call, size: fleet.length });
  let nodes = 0;
  for (const { size } of remembered.values()) nodes += size;
  for (const [name, { size }] of remembered) {
    if ((nodes <= MAX_NODES_REMEMBERED && remembered.size <= MAX_REMEMBERED) || name === input.name) break;
    remembered.delete(name);
    nodes -= size;
  }
  return call;
}

function easeOf(node: FleetNode, revision: string, longestSoakMs: number, now: number): number {
  const { desired, observed, gate } = node;
  const isCalm =
    node.verdict === "healthy" &&
    node.obstacle === undefined &&
    node.disruption === undefined &&
    node.maintenance === undefined &&
    node.drift === undefined;
  if (!isCalm) return RESTLESS;
  if (desired === undefined) return FRESH;
  if (desired.isRejoinDue || observed?.outcome !== "enforced") return RESTLESS;
  if (isBeyond(observed, desired)) return FRESH;
  if (!hasActed(node)) return RESTLESS;
  if (desired.revision !== revision) return FRESH;
  const isSoaked = desired.enforcedAtMs !== undefined && desired.enforcedAtMs + longestSoakMs <= now;
  return isSoaked && gate.state === "passed" ? DONE : RESTLESS;
}

function longestSoakMs({ soakMs, canary }: ResolvedStrategy): number {
  return Math.max(soakMs, canary?.soakMs ?? 0);
}

function keyOf({ revision, strategy }: RolloutInput): string {
  const { digest, budgets, exclusive, order, canary } = strategy;
  const keys = budgets.map(({ topologyKey }) => topologyKey);
  return JSON.stringify([revision, digest, keys, exclusive, order, canary === undefined, longestSoakMs(strategy)]);
}

function isSame(a: Labels, b: Labels): boolean {
  if (a === b) return true;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** Canary's preferred first, then by the strategy's order, then by name. @returns indexes in the fleet */
export function ordered(fleet: Fleet, { canary, order }: Pick<ResolvedStrategy, "canary" | "order">): Uint32Array {
  const byName = Uint32Array.from(fleet.keys());
  const compare = (a: number, b: number): number =>
    compareText(fleet[a]!.name, fleet[b]!.name) || compareText(fleet[a]!.nodeId, fleet[b]!.nodeId);
  // The whole is sorted already as a rule.
  if (byName.some((index) => index > 0 && compare(index - 1, index) > 0)) byName.sort(compare);
  if (canary === undefined && order === undefined) return byName;
  const places = new Map(order?.values.map((value, place) => [value, place]));
  const groups: number[][] = Array.from({ length: 2 * (places.size + 1) }, () => []);
  for (const index of byName) {
    const { labels } = fleet[index]!;
    const value = order === undefined ? undefined : labels[order.key];
    const place = (value === undefined ? undefined : places.get(value)) ?? places.size;
    groups[canary?.prefers(labels) === true ? place : place + places.size + 1]!.push(index);
  }
  return Uint32Array.from(groups.flat());
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
