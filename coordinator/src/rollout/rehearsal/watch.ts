/** I2 and I3 as they are in truth: judged from the machines and the store at the moment of each commit, not from what anybody believed. */
import type { Decision, FleetDesired } from "../model.ts";
import { desiredKey, type MaintenanceEntry, maintenanceKey, type RolloutRecord } from "./controller.ts";
import type { Machine } from "./machine.ts";
import type { Contents, RehearsalStore } from "./store.ts";

type Reader = Pick<RehearsalStore, "get"> | Contents;

/**
 * Something was decided for it whose end it has not reached, or has not told: a node is in change until its end is known. Or it is being taken out, or is
 * out, of its cluster.
 */
export function isTrulyInChange(machine: Machine, store: Reader): boolean {
  const maintenance = store.get(maintenanceKey(machine.nodeId))?.value as MaintenanceEntry | undefined;
  const isTakenOut = maintenance !== undefined && (maintenance.owner !== "Rollout" || maintenance.phase !== "timedOut");
  if (isTakenOut || machine.isAtWork) return true;
  const desired = store.get(desiredKey(machine.nodeId))?.value as FleetDesired | undefined;
  return desired !== undefined && !hasToldItsEnd(machine, desired);
}

function hasToldItsEnd({ observed }: Machine, { planEpoch, generation }: FleetDesired): boolean {
  if (observed === undefined || observed.outcome === "accepted" || observed.outcome === "failed") return false;
  if (observed.planEpoch === planEpoch && observed.generation === generation) return true;
  const isBeyond = observed.planEpoch === planEpoch ? observed.generation > generation : observed.planEpoch > planEpoch;
  return isBeyond && observed.outcome === "enforced";
}

/**
 * What a commit broke. Whoever joins those in change must leave their number within every limit; whoever was in change already adds nothing.
 * @param before those in change before the commit
 */
export function brokenLimits(record: RolloutRecord, machines: readonly Machine[], before: ReadonlySet<string>, store: Reader): string[] {
  const { strategy } = record;
  const changing = machines.filter((machine) => isTrulyInChange(machine, store));
  const joined = changing.filter(({ nodeId, set }) => set === record.set && !before.has(nodeId));
  if (joined.length === 0) return [];
  const broken: string[] = [];
  const own = changing.filter(({ set }) => set === record.set);
  if (own.length > strategy.maxUnavailable) broken.push(`I3: ${namesOf(own)} in change, ${strategy.maxUnavailable} allowed`);
  for (const { topologyKey, atOnce } of strategy.budgets) {
    for (const value of new Set(joined.flatMap(({ labels }) => labels[topologyKey] ?? []))) {
      const of = machines.filter(({ set, labels }) => set === record.set && labels[topologyKey] === value).length;
      const there = changing.filter(({ labels }) => labels[topologyKey] === value);
      if (there.length > atOnce(of)) broken.push(`I3: ${namesOf(there)} in change in ${topologyKey} ${value}, ${atOnce(of)} allowed`);
    }
  }
  const key = strategy.exclusive;
  if (key === undefined) return broken;
  for (const machine of joined) {
    const value = machine.labels[key];
    const other = changing.find(({ labels }) => value !== undefined && labels[key] !== undefined && labels[key] !== value);
    if (other !== undefined) broken.push(`I3: ${machine.name} (${value}) joins ${other.name} (${other.labels[key]}), ${key} is exclusive`);
  }
  return broken;
}

function namesOf(machines: readonly Machine[]): string {
  return machines.map(({ name }) => name).join(", ");
}

/** I2: what is decided for a node only ever rises. */
export function brokenOrder(decisions: readonly Decision[], before: Reader, after: Reader): string[] {
  return decisions.flatMap((decision) => {
    if (decision.type !== "move") return [];
    const [old, now] = [before, after].map((of) => of.get(desiredKey(decision.nodeId))?.value as FleetDesired | undefined);
    const hasRisen =
      old === undefined ||
      (now !== undefined && (now.planEpoch > old.planEpoch || (now.planEpoch === old.planEpoch && now.generation > old.generation)));
    return hasRisen ? [] : [`I2: ${decision.name} went from generation ${old.generation} to ${now?.generation}`];
  });
}
