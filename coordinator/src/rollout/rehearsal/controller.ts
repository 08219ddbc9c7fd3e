/** Reads, decides, commits with the revisions it read: as the real controller, on the rehearsal's store. Forgets everything when it is killed. */
import { isDeepStrictEqual } from "node:util";
import { decide } from "../decide.ts";
import type { Decision, Elsewhere, FleetDesired, FleetMaintenance, FleetNode, Progress, RolloutInput } from "../model.ts";
import { neighbourStanding } from "../standing.ts";
import type { Machine } from "./machine.ts";
import type { Contents, RehearsalStore, Write } from "./store.ts";

export const SLOT = "slots/cluster";
export const rolloutKey = (set: string): string => `rollout/${set}`;
export const desiredKey = (nodeId: string): string => `desired/${nodeId}`;
export const maintenanceKey = (nodeId: string): string => `maintenance/${nodeId}`;

/** What the store holds of a rollout: what decide() is told, but what depends on the moment. */
export interface RolloutRecord extends Omit<RolloutInput, "opening" | "waitsFor"> {
  readonly set: string;
  readonly opening: (nowMs: number) => RolloutInput["opening"];
  /** Set that has to be Complete first. */
  readonly after: string | undefined;
  readonly progress: Progress | undefined;
}

export interface MaintenanceEntry extends FleetMaintenance {
  readonly deadlineAtMs: number;
}

export interface View {
  readonly contents: Contents;
  readonly nodes: ReadonlyMap<string, readonly FleetNode[]>;
}

export interface Pass {
  readonly decisions: readonly Decision[];
  /** What was committed; undefined: it lost against somebody else, or there was nothing. */
  readonly committed: readonly Decision[] | undefined;
  readonly isCut: boolean;
}

export class RehearsalController {
  readonly #seen = new Map<string, FleetNode>();
  #view: View | undefined;

  /** What it decides from until it looks again. */
  look(store: RehearsalStore, machines: Iterable<Machine>): void {
    const contents = store.snapshot();
    const nodes = new Map<string, FleetNode[]>();
    for (const machine of machines) {
      const own = nodes.get(machine.set);
      const node = this.#same(fleetNode(machine, contents));
      if (own === undefined) nodes.set(machine.set, [node]);
      else own.push(node);
    }
    this.#view = { contents, nodes };
  }

  /** An unchanged node is the same object: decide() remembers by that. */
  #same(node: FleetNode): FleetNode {
    const before = this.#seen.get(node.nodeId);
    if (before !== undefined && isDeepStrictEqual(before, node)) return before;
    this.#seen.set(node.nodeId, node);
    return node;
  }

  /**
   * One pass over one set.
   * @param atMost so many of the decisions are committed, then it is killed; undefined: all
   */
  pass(store: RehearsalStore, set: string, planEpoch: number, nowMs: number, atMost: number | undefined): Pass {
    const view = this.#view!;
    const record = rolloutOf(view.contents, set);
    if (record === undefined) return { decisions: [], committed: undefined, isCut: false };
    const input = inputOf(record, view.contents, nowMs);
    const fleet = view.nodes.get(set) ?? [];
    const decisions = decide(input, fleet, elsewhereOf(view, set, nowMs), nowMs);
    const carried = decisions.filter(({ type }) => type === "move" || type === "settle" || type === "drain" || type === "release");
    const done = atMost === undefined ? carried : carried.slice(0, atMost);
    const progress = decisions.find((decision): decision is Progress => decision.type === "progress");
    const isTold = isDeepStrictEqual(progress, record.progress);
    const isCut = atMost !== undefined && atMost < carried.length;
    if (done.length === 0 && (isTold || isCut)) return { decisions, committed: undefined, isCut };
    const writes = done.flatMap((decision) => writesOf(decision, record, view.contents, planEpoch, nowMs));
    if (done.some(({ type }) => type === "move" || type === "drain")) writes.push(written(view.contents, SLOT, { by: record.name }));
    writes.push(written(view.contents, rolloutKey(set), isCut ? record : { ...record, progress }));
    return { decisions, committed: store.commit(writes) ? done : undefined, isCut };
  }

  /** What decide() was told last, for whoever checks it. */
  situation(
    set: string,
    nowMs: number,
  ): { input: RolloutInput; fleet: readonly FleetNode[]; elsewhere: readonly Elsewhere[]; now: number } | undefined {
    const record = this.#view && rolloutOf(this.#view.contents, set);
    if (record === undefined) return undefined;
    const view = this.#view!;
    return {
      input: inputOf(record, view.contents, nowMs),
      fleet: view.nodes.get(set) ?? [],
      elsewhere: elsewhereOf(view, set, nowMs),
      now: nowMs,
    };
  }
}

export function rolloutOf(contents: Contents, set: string): RolloutRecord | undefined {
  return contents.get(rolloutKey(set))?.value as RolloutRecord | undefined;
}

function inputOf(
  { opening, after, set: _set, progress: _progress, ...input }: RolloutRecord,
  contents: Contents,
  nowMs: number,
): RolloutInput {
  const isFirst = after === undefined || rolloutOf(contents, after)?.progress?.phase === "Complete";
  return { ...input, opening: opening(nowMs), waitsFor: isFirst ? undefined : `NodeSet/${after} is not complete` };
}

export function fleetNode(machine: Machine, contents: Contents): FleetNode {
  const { nodeId, name, labels, verdict, verdictReason, obstacle, disruption, impact, drift, isDrainable, gate } = machine;
  const desired = contents.get(desiredKey(nodeId))?.value as FleetDesired | undefined;
  const entry = contents.get(maintenanceKey(nodeId))?.value as MaintenanceEntry | undefined;
  const { observed } = machine;
  const isEnforced = observed?.outcome === "enforced" && observed.generation === desired?.generation;
  return {
    nodeId,
    name,
    labels,
    verdict,
    verdictReason,
    desired,
    observed,
    obstacle,
    disruption,
    impact,
    drift: isEnforced ? drift : undefined,
    isDrainable,
    maintenance: entry && maintenanceOf(entry),
    gate: isEnforced ? gate : { state: "pending", message: "not enforced yet" },
  };
}

function maintenanceOf({ owner, ownerName, wanted, phase, message, revisitAtMs }: MaintenanceEntry): FleetMaintenance {
  return { owner, ownerName, wanted, phase, message, revisitAtMs };
}

/** In change or away in other sets of the cluster. */
function elsewhereOf({ contents, nodes }: View, set: string, nowMs: number): readonly Elsewhere[] {
  return [...nodes].flatMap(([other, members]) => {
    if (other === set) return [];
    const rollout = rolloutOf(contents, other);
    return members.flatMap((node): Elsewhere[] => {
      const standing = neighbourStanding(node, rollout && { name: rollout.name, ...rollout.strategy }, nowMs);
      return standing === "available" ? [] : [{ name: node.name, labels: node.labels, isInChange: standing === "inChange" }];
    });
  });
}

function written(contents: Contents, key: string, value: unknown): Write {
  return { key, value, expected: contents.get(key)?.revision ?? 0 };
}

function writesOf(decision: Decision, record: RolloutRecord, contents: Contents, planEpoch: number, nowMs: number): Write[] {
  switch (decision.type) {
    case "move": {
      const before = contents.get(desiredKey(decision.nodeId))?.value as FleetDesired | undefined;
      const isSameEpoch = before?.planEpoch === planEpoch;
      const desired: FleetDesired = {
        planEpoch,
        generation: isSameEpoch ? before.generation + 1 : 1,
        revision: record.revision,
        rollout: record.name,
        decidedAtMs: nowMs,
        enforcedAtMs: undefined,
        isRejoinDue: false,
      };
      return [written(contents, desiredKey(decision.nodeId), desired)];
    }
    case "settle": {
      const before = contents.get(desiredKey(decision.nodeId))?.value as FleetDesired;
      return [written(contents, desiredKey(decision.nodeId), { ...before, enforcedAtMs: nowMs })];
    }
    case "drain": {
      const entry: MaintenanceEntry = {
        owner: "Rollout",
        ownerName: record.name,
        wanted: "drain",
        phase: "waiting",
        message: "asked for",
        revisitAtMs: undefined,
        deadlineAtMs: decision.deadlineAtMs,
      };
      return [written(contents, maintenanceKey(decision.nodeId), entry)];
    }
    case "release": {
      const before = contents.get(maintenanceKey(decision.nodeId))?.value as MaintenanceEntry;
      return [written(contents, maintenanceKey(decision.nodeId), { ...before, wanted: "release" })];
    }
    case "wait":
    case "askGate":
    case "progress":
    case "askAgain":
      return [];
  }
}
