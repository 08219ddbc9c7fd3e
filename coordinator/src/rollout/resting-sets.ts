/**
 * Sets whose rollout is complete and whose nodes all stand where it brought them: decide() has nothing to say of them, whatever their health, so nobody
 * gathers them. Of 100,000 nodes nearly all rest nearly always; who was touched is looked at again, and one that rests no more wakes its set.
 */
import type { Rollout } from "@drover/api";
import { parseDurationMs } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Member, Membership } from "../resources/membership.ts";
import { driftOf, isEnforced, isRejoinDue } from "./situation.ts";

/** Nodes looked at in one turn; between two turns others get theirs. */
const LOOKED_AT = 2_000;

interface Resting {
  readonly members: readonly Member[];
  readonly rollout: Rollout;
  /** Members before this place were seen at rest. */
  seen: number;
  /** Of those, who was touched since, or did not rest any more. */
  readonly restless: Set<string>;
}

export class RestingSets {
  readonly #parts: { readonly catalog: Catalog; readonly fleet: FleetView };
  readonly #sets = new Map<string, Resting>();
  readonly #touched = new Set<string>();

  constructor(parts: { readonly catalog: Catalog; readonly fleet: FleetView }) {
    this.#parts = parts;
  }

  /** Something of the node changed. */
  touch(nodeId: string): void {
    if (this.#sets.size > 0) this.#touched.add(nodeId);
  }

  /** Everything may have changed. */
  forgetAll(): void {
    this.#sets.clear();
  }

  /** Whether decide() would find nothing to do, and nothing to say that is not said. Asked again after every change. @param nowMs Unix milliseconds */
  async rests(setName: string, { membersOf, setOf }: Membership, rollout: Rollout, nowMs: number): Promise<boolean> {
    const members = membersOf.get(setName) ?? [];
    for (const nodeId of this.#touched) this.#sets.get(setOf.get(nodeId)?.metadata.name ?? "")?.restless.add(nodeId);
    this.#touched.clear();
    if (!isToldComplete(rollout, members.length)) {
      this.#sets.delete(setName);
      return false;
    }
    let set = this.#sets.get(setName);
    if (set?.members !== members || set.rollout !== rollout)
      this.#sets.set(setName, (set = { members, rollout, seen: 0, restless: new Set() }));
    const soakedMs = nowMs - longestSoakMs(rollout.spec.strategy);
    for (const nodeId of set.restless) {
      if (!this.#isAtRest(nodeId, rollout, soakedMs)) return false;
      set.restless.delete(nodeId);
    }
    for (; set.seen < members.length; set.seen += 1) {
      if (!this.#isAtRest(members[set.seen]!.nodeId, rollout, soakedMs)) return false;
      if (set.seen % LOOKED_AT === LOOKED_AT - 1) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return set.restless.size === 0;
  }

  /** Updated, settled and soaked: by itself, without regard to any other node, and for as long as nothing of it changes. */
  #isAtRest(nodeId: string, { metadata, spec }: Rollout, soakedMs: number): boolean {
    const { catalog, fleet } = this.#parts;
    const desired = catalog.desired.look(nodeId);
    if (desired?.enforcedAtMs === undefined || desired.revision !== spec.revision || catalog.maintenances.has(nodeId)) return false;
    const observed = fleet.node(nodeId);
    if (!isEnforced(desired, observed) || driftOf(desired, observed) !== undefined) return false;
    if (isRejoinDue(desired, catalog.nodeRecords.field(nodeId, "rejoin") ?? 0)) return false;
    return desired.rollout !== metadata.name || desired.enforcedAtMs <= soakedMs;
  }
}

/** With a webhook there may be something to ask. */
function isToldComplete({ metadata, spec, status }: Rollout, nodes: number): boolean {
  if (status?.phase !== "Complete" || spec.strategy.gates?.webhook !== undefined) return false;
  const { total, updated, inChange, failed, waiting, observedGeneration } = status;
  const isAll = nodes > 0 && total === nodes && updated === nodes;
  return isAll && inChange === 0 && failed === 0 && waiting.length === 0 && observedGeneration === (metadata.generation ?? 1);
}

/** A soak that its gates hold up goes on for a progress deadline at most. */
function longestSoakMs({ soak, canary, progressDeadline }: Rollout["spec"]["strategy"]): number {
  const soakMs = Math.max(parseDurationMs(soak), canary?.soak === undefined ? 0 : parseDurationMs(canary.soak));
  return soakMs === 0 ? 0 : soakMs + parseDurationMs(progressDeadline);
}
