/**
 * The nodes of each set as decide() judges them, kept from look to look: only what was touched is gathered anew, and what has not changed is the
 * same object, the whole fleet too. In a large fleet nearly nothing changes between two looks.
 */
import { canonicalJson, type Rollout } from "@drover/api";
import type { Member } from "../resources/membership.ts";
import type { Fleet, FleetNode } from "./model.ts";
import type { Target } from "./prospects.ts";
import { forgetRollCall } from "./roll-call.ts";
import { fleetNode, type SituationParts } from "./situation.ts";

interface Kept {
  readonly members: readonly Member[];
  readonly key: string;
  readonly fleet: Fleet;
  /** Position by node id. */
  readonly places: ReadonlyMap<string, number>;
  readonly touched: Set<string>;
  /** Nodes whose gate may pass by time alone, when their cluster was asked once more. */
  readonly pending: Set<string>;
}

export class Fleets {
  readonly #parts: SituationParts;
  readonly #kept = new Map<string, Kept>();

  constructor(parts: SituationParts) {
    this.#parts = parts;
  }

  /** Something of the node changed. */
  touch(nodeId: string): void {
    for (const { places, touched } of this.#kept.values()) if (places.has(nodeId)) touched.add(nodeId);
  }

  /** Everything may have changed. */
  touchAll(): void {
    for (const { places, touched } of this.#kept.values()) for (const nodeId of places.keys()) touched.add(nodeId);
  }

  forget(isKept: (setName: string) => boolean): void {
    for (const name of this.#kept.keys()) if (!isKept(name)) this.#kept.delete(name);
  }

  /** Nobody looks at the set for now. */
  release(setName: string): void {
    const kept = this.#kept.get(setName);
    if (kept === undefined) return;
    this.#kept.delete(setName);
    forgetRollCall(kept.fleet);
  }

  /** Whether a gate of the set's waits for evidence that nobody announces. */
  isPending(setName: string): boolean {
    return (this.#kept.get(setName)?.pending.size ?? 0) > 0;
  }

  of(setName: string, members: readonly Member[], rollout: Rollout, target: Target): Fleet {
    const key = `${rollout.metadata.name} ${target.revision} ${canonicalJson(rollout.spec.strategy.gates ?? {})}`;
    const before = this.#kept.get(setName);
    const gather = (member: Member, held: FleetNode | undefined): FleetNode =>
      sameOr(held, fleetNode(this.#parts, member, rollout, target));
    if (before === undefined || before.members !== members || before.key !== key) {
      const gathered = members.map((member) => gather(member, heldIn(before, member.nodeId)));
      const fleet = sameArrayOr(before?.fleet, gathered);
      const pending = new Set(fleet.filter(isPending).map(({ nodeId }) => nodeId));
      this.#kept.set(setName, { members, key, fleet, places: placesOf(members), touched: new Set(), pending });
      return fleet;
    }
    let changed: FleetNode[] | undefined;
    for (const nodeId of new Set([...before.touched, ...before.pending])) {
      const place = before.places.get(nodeId)!;
      const node = gather(members[place]!, before.fleet[place]);
      if (node === before.fleet[place]) continue;
      changed ??= [...before.fleet];
      changed[place] = node;
      if (isPending(node)) before.pending.add(nodeId);
      else before.pending.delete(nodeId);
    }
    before.touched.clear();
    if (changed === undefined) return before.fleet;
    this.#kept.set(setName, { ...before, fleet: changed });
    return changed;
  }
}

/** It enforces what was decided, and its gates have not passed. */
function isPending({ gate, desired, observed }: FleetNode): boolean {
  return gate.state === "pending" && observed?.outcome === "enforced" && observed.generation === desired?.generation;
}

function heldIn(kept: Kept | undefined, nodeId: string): FleetNode | undefined {
  const place = kept?.places.get(nodeId);
  return place === undefined ? undefined : kept!.fleet[place];
}

function placesOf(members: readonly Member[]): ReadonlyMap<string, number> {
  return new Map(members.map(({ nodeId }, place) => [nodeId, place]));
}

function sameArrayOr(before: Fleet | undefined, fleet: Fleet): Fleet {
  return before?.length === fleet.length && fleet.every((node, place) => node === before[place]) ? before : fleet;
}

function sameOr(held: FleetNode | undefined, node: FleetNode): FleetNode {
  return held !== undefined && isSame(held, node, 2) ? held : node;
}

/** @param depth how many levels of plain objects are looked into */
function isSame(a: unknown, b: unknown, depth: number): boolean {
  if (a === b) return true;
  if (depth === 0 || typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [one, other] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const fields = Object.keys(one);
  if (fields.length !== Object.keys(other).length) return false;
  for (const field of fields) if (!isSame(one[field], other[field], depth - 1)) return false;
  return true;
}
