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
    for (let index = nextChange(before, fleet, 0); index < fleet.length; index = nextChange(before, fleet, index + 1)) {
      const node = fleet[index]!;
      const was = before[index]!;
      if (node.name !== was.name || node.nodeId !== was.nodeId || !isSame(node.labels, was.labels)) return false;
      this.#note(this.#ranks[index]!, node);
    }
    this.#fleet = fleet;
    return true;
  }

  isOf(fleet: Fleet): boolean {
    return this.#fleet === fleet;
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

/** The fleet is not looked at any more for now. */
export function forgetRollCall(fleet: Fleet): void {
  for (const [name, { call }] of remembered) if (call.isOf(fleet)) remembered.delete(name);
}

/** Of its own, for it goes over all nodes in each call. @returns the length when there is none */
function nextChange(before: Fleet, fleet: Fleet, from: number): number {
  let index = from;
  while (index < fleet.length && before[index] === fleet[index]) index += 1;
  return index;
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
  let fields = 0;
  for (const key in a) {
    if (a[key] !== b[key]) return false;
    fields += 1;
  }
  for (const key in b) if (b[key] !== undefined) fields -= 1;
  return fields === 0;
}

type Placed = Pick<FleetNode, "nodeId" | "name" | "labels">;

/** Canary's preferred first, then by the strategy's order, then by name. @returns indexes in the fleet */
export function ordered(fleet: readonly Placed[], { canary, order }: Pick<ResolvedStrategy, "canary" | "order">): Uint32Array {
  const byName = sortedByName(fleet);
  if (canary === undefined && order === undefined) return byName;
  const places = new Map(order?.values.map((value, place) => [value, place]));
  const groups = new Uint32Array(fleet.length);
  const starts = new Uint32Array(2 * (places.size + 1) + 1);
  for (let rank = 0; rank < fleet.length; rank += 1) {
    const { labels } = fleet[byName[rank]!]!;
    const value = order === undefined ? undefined : labels[order.key];
    const place = (value === undefined ? undefined : places.get(value)) ?? places.size;
    const group = canary?.prefers(labels) === true ? place : place + places.size + 1;
    groups[rank] = group;
    starts[group + 1]! += 1;
  }
  for (let group = 1; group < starts.length; group += 1) starts[group]! += starts[group - 1]!;
  const byGroup = new Uint32Array(fleet.length);
  for (let rank = 0; rank < fleet.length; rank += 1) {
    const group = groups[rank]!;
    byGroup[starts[group]!] = byName[rank]!;
    starts[group]! += 1;
  }
  return byGroup;
}

/** The whole is sorted already as a rule. */
function sortedByName(fleet: readonly Placed[]): Uint32Array {
  const indexes = new Uint32Array(fleet.length);
  let isSorted = true;
  for (let index = 0; index < fleet.length; index += 1) {
    indexes[index] = index;
    if (index > 0 && isSorted && compareNodes(fleet[index - 1]!, fleet[index]!) > 0) isSorted = false;
  }
  return isSorted ? indexes : indexes.sort((a, b) => compareNodes(fleet[a]!, fleet[b]!));
}

function compareNodes(a: Placed, b: Placed): number {
  if (a.name < b.name) return -1;
  if (a.name > b.name) return 1;
  return a.nodeId === b.nodeId ? 0 : a.nodeId < b.nodeId ? -1 : 1;
}
