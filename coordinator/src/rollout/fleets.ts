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

/** Nodes gathered in one turn; between two turns others get theirs. */
const PER_TURN = 500;

interface Kept {
  readonly members: readonly Member[];
  readonly key: string;
  /** Position by node id. */
  readonly places: ReadonlyMap<string, number>;
  /** By position; undefined: not gathered yet, and touched. */
  readonly nodes: (FleetNode | undefined)[];
  /** Somebody of nodes is another than when they were handed out. */
  isChanged: boolean;
  /** As handed out last. */
  fleet: Fleet | undefined;
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
    if (kept.fleet !== undefined) forgetRollCall(kept.fleet);
  }

  /** Whether a gate of the set's waits for evidence that nobody announces. */
  isPending(setName: string): boolean {
    return (this.#kept.get(setName)?.pending.size ?? 0) > 0;
  }

  /** Gathers anew in turns, if they are many, all but the last few: of() does the rest in one. */
  async near(setName: string, members: readonly Member[], rollout: Rollout, target: Target): Promise<void> {
    const kept = this.#keptFor(setName, members, rollout, target);
    while (kept.touched.size > PER_TURN) {
      let gathered = 0;
      for (const nodeId of kept.touched) {
        this.#gather(kept, nodeId, rollout, target);
        gathered += 1;
        if (gathered === PER_TURN) break;
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  of(setName: string, members: readonly Member[], rollout: Rollout, target: Target): Fleet {
    const kept = this.#keptFor(setName, members, rollout, target);
    for (const nodeId of kept.pending) kept.touched.add(nodeId);
    for (const nodeId of kept.touched) this.#gather(kept, nodeId, rollout, target);
    const nodes = kept.nodes as FleetNode[];
    if (kept.fleet === undefined || (kept.isChanged && !isSameArray(kept.fleet, nodes))) kept.fleet = [...nodes];
    kept.isChanged = false;
    return kept.fleet;
  }

  #gather(kept: Kept, nodeId: string, rollout: Rollout, target: Target): void {
    const { members, places, nodes, pending, touched } = kept;
    touched.delete(nodeId);
    const place = places.get(nodeId)!;
    const held = nodes[place];
    const node = sameOr(held, fleetNode(this.#parts, members[place]!, rollout, target));
    if (node === held) return;
    nodes[place] = node;
    kept.isChanged = true;
    if (isPending(node)) pending.add(nodeId);
    else pending.delete(nodeId);
  }

  /** Of other members those are taken over that stay as they are. */
  #keptFor(setName: string, members: readonly Member[], rollout: Rollout, target: Target): Kept {
    const key = `${rollout.metadata.name} ${target.revision} ${canonicalJson(rollout.spec.strategy.gates ?? {})}`;
    const before = this.#kept.get(setName);
    if (before?.members === members && before.key === key) return before;
    const places = new Map(members.map(({ nodeId }, place) => [nodeId, place]));
    const nodes = members.map(({ nodeId }) => nodeIn(before, nodeId));
    const isAsBefore = (member: Member, place: number): boolean =>
      before?.key === key &&
      nodes[place] !== undefined &&
      !before.touched.has(member.nodeId) &&
      before.members[before.places.get(member.nodeId)!] === member;
    const touched = members.filter((member, place) => !isAsBefore(member, place)).map(({ nodeId }) => nodeId);
    const pending = [...(before?.pending ?? [])].filter((nodeId) => places.has(nodeId));
    const kept: Kept = {
      members,
      key,
      places,
      nodes,
      isChanged: true,
      fleet: before?.fleet,
      touched: new Set(touched),
      pending: new Set(pending),
    };
    this.#kept.set(setName, kept);
    return kept;
  }
}

/** It enforces what was decided, and its gates have not passed. */
function isPending({ gate, desired, observed }: FleetNode): boolean {
  return gate.state === "pending" && observed?.outcome === "enforced" && observed.generation === desired?.generation;
}

function nodeIn(kept: Kept | undefined, nodeId: string): FleetNode | undefined {
  const place = kept?.places.get(nodeId);
  return place === undefined ? undefined : kept!.nodes[place];
}

function isSameArray(one: Fleet, other: Fleet): boolean {
  return one.length === other.length && other.every((node, place) => node === one[place]);
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
