/** Machines, a store, a cluster that drains, and controllers over decide(): everything that a rollout meets, in memory and on a clock of its own. For tests. */
import { type Random, seededRandom } from "@drover/lifecycle";
import type { Decision, FleetDesired, Labels, ResolvedStrategy } from "../model.ts";
import {
  desiredKey,
  type MaintenanceEntry,
  maintenanceKey,
  type Pass,
  RehearsalController,
  rolloutKey,
  type RolloutRecord,
  SLOT,
} from "./controller.ts";
import { Machine } from "./machine.ts";
import { type Contents, RehearsalStore } from "./store.ts";
import { brokenLimits, brokenOrder, isTrulyInChange } from "./watch.ts";

export interface WorldOptions {
  /** Reports arrive in an order drawn from it, and some twice; undefined: in order, once. */
  readonly seed?: number | undefined;
}

export const usualStrategy: ResolvedStrategy = {
  digest: "usual",
  maxUnavailable: 1,
  isAll: false,
  soakMs: 0,
  progressDeadlineMs: 600_000,
  failureBudget: 0,
  canary: undefined,
  waves: [],
  budgets: [],
  exclusive: undefined,
  order: undefined,
  approvals: new Set(),
  drain: { from: "drain", deadlineMs: 600_000, revisitAfterMs: 300_000 },
  hasWebhook: false,
};

export class World {
  readonly store = new RehearsalStore();
  readonly machines = new Map<string, Machine>();
  readonly violations: string[] = [];
  controller = new RehearsalController();
  nowMs = 0;
  planEpoch = 1;
  /** Nothing is decided: an old backup was restored and nobody has accepted that. */
  isRestored = false;
  /** After an old backup was accepted: nodes tell what they are at before anything is decided. */
  learningUntilMs = 0;
  readonly random: Random | undefined;
  #digests = 0;

  constructor({ seed }: WorldOptions = {}) {
    this.random = seed === undefined ? undefined : seededRandom(seed);
  }

  join(name: string, set = "web", labels: Labels = {}): Machine {
    const machine = new Machine(name, set, labels);
    this.machines.set(name, machine);
    return machine;
  }

  machine(name: string): Machine {
    return this.machines.get(name)!;
  }

  /** A rollout begins; one that is there is superseded. */
  rollOut(set: string, revision: string, strategy: Partial<ResolvedStrategy> = {}, after?: string): RolloutRecord {
    const before = this.rollout(set);
    const number = Number(before?.name.slice(set.length + 1) ?? 0) + 1;
    this.#digests += 1;
    const record: RolloutRecord = {
      set,
      name: `${set}-${number}`,
      revision,
      strategy: { ...(before?.strategy ?? usualStrategy), ...strategy, digest: `strategy-${this.#digests}` },
      isPaused: false,
      isAborted: false,
      promotedWave: 0,
      approvals: new Map(),
      confirmedNodes: undefined,
      retriedAtMs: undefined,
      opening: before?.opening ?? (() => ({ isOpen: true, closesAtMs: undefined })),
      after: after ?? before?.after,
      waveGates: new Map(),
      knownFingerprints: new Set(
        [...this.machines.values()].flatMap(({ set: of, observed }) => (of === set ? (observed?.fingerprint ?? []) : [])),
      ),
      progress: undefined,
    };
    this.store.put(rolloutKey(set), record);
    return record;
  }

  rollout(set = "web"): RolloutRecord | undefined {
    return this.store.get(rolloutKey(set))?.value as RolloutRecord | undefined;
  }

  /** An operator's word. */
  speak(change: Partial<RolloutRecord>, set = "web"): void {
    this.store.put(rolloutKey(set), { ...this.rollout(set)!, ...change });
  }

  approve(wave: number, set = "web"): void {
    const record = this.rollout(set)!;
    const digest = record.progress?.waves[wave - 1]?.approvalDigest;
    if (digest !== undefined) this.speak({ approvals: new Map([...record.approvals, [wave, digest]]) }, set);
  }

  rejoin(name: string): void {
    const { nodeId } = this.machine(name);
    const desired = this.store.get(desiredKey(nodeId))?.value as FleetDesired | undefined;
    if (desired !== undefined) this.store.put(desiredKey(nodeId), { ...desired, isRejoinDue: true });
  }

  maintain(name: string, owner: "Operator" | "Repair", wanted: MaintenanceEntry["wanted"]): void {
    const { nodeId } = this.machine(name);
    const before = this.store.get(maintenanceKey(nodeId))?.value as MaintenanceEntry | undefined;
    const entry: MaintenanceEntry = before ?? {
      owner,
      ownerName: owner === "Repair" ? `repair-${name}` : "anna",
      wanted,
      phase: "waiting",
      message: `${owner} asked for it`,
      revisitAtMs: undefined,
      deadlineAtMs: this.nowMs + 600_000,
    };
    this.store.put(maintenanceKey(nodeId), { ...entry, wanted });
    // Whoever brings a node into change takes the cluster's slot: what others decided meanwhile is not committed.
    this.store.put(SLOT, { by: entry.ownerName });
  }

  /** @param atMost so many decisions are committed, then the controller is killed and another begins without its memory */
  pass(set = "web", atMost?: number, isStale = false): Pass {
    if (this.isRestored || this.nowMs < this.learningUntilMs) return { decisions: [], committed: undefined, isCut: false };
    if (!isStale) this.controller.look(this.store, this.machines.values());
    const record = this.rollout(set);
    const machines = [...this.machines.values()];
    const before = new Set(machines.filter((machine) => isTrulyInChange(machine, this.store)).map(({ nodeId }) => nodeId));
    const contents = this.store.snapshot();
    const pass = this.controller.pass(this.store, set, this.planEpoch, this.nowMs, atMost);
    if (pass.committed !== undefined && record !== undefined) {
      this.violations.push(...brokenOrder(pass.committed, contents, this.store), ...brokenLimits(record, machines, before, this.store));
    }
    if (pass.isCut) this.controller = new RehearsalController();
    return pass;
  }

  askedGates(decisions: readonly Decision[]): readonly number[] {
    return decisions.flatMap((decision) => (decision.type === "askGate" ? [decision.wave] : []));
  }

  deliver(machine: Machine): boolean {
    const desired = this.store.get(desiredKey(machine.nodeId))?.value as FleetDesired | undefined;
    return desired !== undefined && machine.deliver(desired, this.nowMs);
  }

  /** What is unsent arrives: in order, or shuffled among nodes, some of it twice and some too early. @returns whose news was taken, in order */
  collect(heard: (machine: Machine) => void = () => undefined): void {
    for (;;) {
      const sent = [...this.machines.values()].flatMap((machine) =>
        machine.isUp ? machine.unsent.map((report) => ({ machine, report })) : [],
      );
      if (sent.length === 0) return;
      const { random } = this;
      const doubled = random === undefined ? sent : [...sent, ...sent.filter(() => random.unit() < 0.5)];
      const ordered =
        random === undefined
          ? doubled
          : doubled
              .map((each) => ({ each, key: random.unit() }))
              .sort((a, b) => a.key - b.key)
              .map(({ each }) => each);
      for (const { machine, report } of ordered) if (machine.receive(report)) heard(machine);
    }
  }

  /** The maintenance of one node takes its next step. @returns the phase it came to; undefined: nothing happened */
  serve(machine: Machine): string | undefined {
    const key = maintenanceKey(machine.nodeId);
    const entry = this.store.get(key)?.value as MaintenanceEntry | undefined;
    if (entry === undefined) return undefined;
    const become = (phase: MaintenanceEntry["phase"], message: string, revisitAtMs?: number): string => {
      this.store.put(key, { ...entry, phase, message, revisitAtMs });
      return phase;
    };
    if (entry.wanted === "release") {
      machine.isCordoned = false;
      this.store.put(key, undefined);
      return "released";
    }
    if (entry.phase === "waiting") {
      machine.isCordoned = true;
      return become("cordoned", "cordoned");
    }
    if (entry.wanted === "cordon" || entry.phase === "drained" || entry.phase === "timedOut") return undefined;
    if (entry.phase === "cordoned") return become("draining", "evicting");
    if (!machine.isDrainStuck) return become("drained", "drained");
    if (this.nowMs < entry.deadlineAtMs) return undefined;
    machine.isCordoned = false;
    const revisitAfterMs = this.rollout(machine.set)?.strategy.drain.revisitAfterMs ?? 300_000;
    return become("timedOut", "a PodDisruptionBudget never let its pods go", this.nowMs + revisitAfterMs);
  }

  backup(): Contents {
    return this.store.snapshot();
  }

  restore(backup: Contents): void {
    this.store.restore(backup);
    // What the backup has forgotten is found by its mark in the cluster, and uncordoned there.
    for (const machine of this.machines.values())
      if (this.store.get(maintenanceKey(machine.nodeId)) === undefined) machine.isCordoned = false;
    this.controller = new RehearsalController();
    this.isRestored = true;
  }

  /** Above everything seen, and after one grace in which nodes tell what they are at. */
  acceptRestored(): void {
    this.planEpoch += 1;
    this.isRestored = false;
    this.learningUntilMs = this.nowMs + 30_000;
  }
}
