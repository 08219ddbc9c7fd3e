/**
 * A random fleet under random faults: every step is drawn from the seed, and I2 and I3 are judged at every commit and the laws at every call. When the storm
 * is over everything must come to an end by itself. For campaigns; the same seed is the same storm.
 */
import { type Random, seededRandom } from "@drover/lifecycle";
import { type Law, reckoned } from "../proof/law.ts";
import { limitLaws } from "../proof/limit-laws.ts";
import { maintenanceLaws } from "../proof/maintenance-laws.ts";
import { restraintLaws } from "../proof/restraint-laws.ts";
import { waveLaws } from "../proof/wave-laws.ts";
import type { ResolvedStrategy } from "../model.ts";
import { type MaintenanceEntry, maintenanceKey, type Pass, RehearsalController } from "./controller.ts";
import type { Machine } from "./machine.ts";
import { World } from "./world.ts";

const STEPS = 60;
const CALM_ROUNDS = 400;
/** All that do not call decide() again. */
const LAWS: readonly Law[] = [...limitLaws, ...restraintLaws, ...waveLaws, ...maintenanceLaws];

export interface Storm {
  readonly violations: readonly string[];
  /** What happened, line by line: for whoever looks for the cause. */
  readonly log: readonly string[];
  readonly commits: number;
}

export function fleetStorm(seed: number): Storm {
  return new Tempest(seed).rage();
}

class Tempest {
  readonly #random: Random;
  readonly #world: World;
  readonly #log: string[] = [];
  readonly #violations: string[] = [];
  readonly #sets: readonly string[];
  #rival = new RehearsalController();
  #commits = 0;
  #joined = 0;
  #backup: ReturnType<World["backup"]> | undefined;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.#world = new World({ seed: seed ^ 0x5eed });
    this.#sets = this.#chance(0.3) ? ["web", "db"] : ["web"];
    const size = 1 + this.#below(9);
    for (let index = 0; index < size; index += 1) this.#join();
    for (const set of this.#sets) this.#rollOut(set);
  }

  rage(): Storm {
    for (let step = 0; step < STEPS && this.#violations.length === 0; step += 1) this.#step();
    if (this.#violations.length === 0) this.#calmDown();
    return { violations: [...this.#world.violations, ...this.#violations], log: this.#log, commits: this.#commits };
  }

  #below(bound: number): number {
    return Math.floor(this.#random.unit() * bound);
  }

  #chance(share: number): boolean {
    return this.#random.unit() < share;
  }

  #pick<T>(of: readonly T[]): T {
    return of[this.#below(of.length)]!;
  }

  #join(): void {
    const labels = {
      zone: this.#pick(["z1", "z2", "z3"]),
      rack: this.#pick(["r1", "r2"]),
      ...(this.#chance(0.7) ? { role: this.#pick(["db", "web"]) } : {}),
    };
    const machine = this.#world.join(`n${this.#pick([1, 2, 3, 4, 5, 6, 7, 8, 9])}${this.#joined}`, this.#pick(this.#sets), labels);
    this.#joined += 1;
    machine.impact = this.#pick(["live", "restart", "drain", "reboot"]);
    machine.isDrainable = this.#chance(0.6);
    machine.workMs = this.#pick([0, 5_000, 30_000, 200_000]);
    machine.fate = (): ReturnType<Machine["fate"]> => {
      const outcome = this.#chance(0.8) ? "enforced" : this.#pick(["failed", "rejected", "refused"] as const);
      return outcome === "enforced"
        ? { outcome }
        : { outcome, reason: this.#pick(["ContainerdDown", "KubeletDown", "ImageMissing"]), message: "it broke" };
    };
  }

  #rollOut(set: string): void {
    const size = [...this.#world.machines.values()].filter((machine) => machine.set === set).length;
    const strategy: Partial<ResolvedStrategy> = {
      maxUnavailable: this.#pick([1, 1, 2, 3]),
      soakMs: this.#pick([0, 0, 20_000]),
      failureBudget: this.#pick([0, 1, 3]),
      progressDeadlineMs: 120_000,
      canary: this.#chance(0.3) ? { nodes: 1, soakMs: this.#pick([0, 30_000]), prefers: ({ role }) => role === "web" } : undefined,
      waves: this.#pick([[], [1], [2, 4]]).filter((reach) => reach < size),
      budgets: this.#pick([[], ["zone"], ["zone", "rack"], ["rack"]]).map((topologyKey) => ({
        topologyKey,
        atOnce: (nodes: number) => Math.min(nodes, this.#budgetOf(topologyKey)),
      })),
      exclusive: this.#pick([undefined, undefined, "zone", "role"]),
      order: this.#chance(0.3) ? { key: "role", values: ["web", "db"] } : undefined,
      approvals: new Set(this.#pick([[], [], [2]])),
      drain: { from: this.#pick(["never", "restart", "drain"]), deadlineMs: 60_000, revisitAfterMs: 60_000 },
      hasWebhook: this.#chance(0.2),
    };
    const { name, revision } = this.#world.rollOut(set, this.#pick(["A", "B", "C"]), strategy);
    this.#note(`rollout ${name} to ${revision}: ${JSON.stringify(strategy)}`);
  }

  /** The same all along: what is allowed for a key does not change between two calls for one strategy. */
  #budgetOf(topologyKey: string): number {
    return topologyKey === "zone" ? 1 : 2;
  }

  #step(): void {
    const world = this.#world;
    const set = this.#pick(this.#sets);
    const machine = this.#pick([...world.machines.values()]);
    const choice = this.#below(40);
    if (choice < 14) this.#round();
    else if (choice < 18) this.#lonePass(set);
    else if (choice < 21) this.#stalePass(set);
    else if (choice < 23) this.#rival.look(world.store, world.machines.values());
    else if (choice < 25) this.#passTime(this.#pick([1_000, 20_000, 70_000, 130_000, 3_700_000]));
    else if (choice < 32) this.#hurt(machine);
    else if (choice < 38) this.#operate(set, machine);
    else this.#lose(machine);
  }

  /** Plans arrive, machines work, reports and maintenance come along; some of each does not. */
  #round(): void {
    const world = this.#world;
    for (const machine of world.machines.values()) {
      if (this.#chance(0.8)) world.deliver(machine);
      if (this.#chance(0.8)) machine.work(world.nowMs);
      if (this.#chance(0.8)) world.serve(machine);
    }
    if (this.#chance(0.8)) world.collect();
    for (const set of this.#sets) this.#lonePass(set);
  }

  /** As often as not it is killed in the middle of its commit. */
  #lonePass(set: string): void {
    const world = this.#world;
    world.controller.look(world.store, world.machines.values());
    this.#decide(set, this.#chance(0.3) ? this.#below(3) : undefined, true);
    if (this.#chance(0.1)) world.controller = new RehearsalController();
  }

  /** Another controller thinks it leads, and has not looked for a while. */
  #stalePass(set: string): void {
    const own = this.#world.controller;
    this.#world.controller = this.#rival;
    if (this.#rival.situation(set, this.#world.nowMs) !== undefined) this.#decide(set, undefined, false);
    this.#rival = this.#world.controller;
    this.#world.controller = own;
  }

  #decide(set: string, atMost: number | undefined, isJudged: boolean): Pass {
    const world = this.#world;
    const situation = isJudged ? world.controller.situation(set, world.nowMs) : undefined;
    const pass = world.pass(set, atMost, true);
    if (pass.committed !== undefined) this.#commits += 1;
    if (pass.committed !== undefined && pass.committed.length > 0)
      this.#note(`${set}: ${pass.committed.map((decision) => `${decision.type} ${"name" in decision ? decision.name : ""}`).join(", ")}`);
    if (situation !== undefined && pass.decisions.length > 0) {
      const call = { ...situation, ...reckoned(situation.fleet, pass.decisions) };
      for (const law of LAWS) {
        const words = law.broken(call);
        if (words !== undefined) this.#violations.push(`${law.name}: ${words}`);
      }
    }
    for (const wave of world.askedGates(pass.decisions)) {
      const gates = world.rollout(set)!.waveGates;
      if (!gates.has(wave))
        world.speak({ waveGates: new Map([...gates, [wave, { isPassed: this.#chance(0.8), message: "asked", atMs: world.nowMs }]]) }, set);
    }
    this.#violations.push(...world.violations);
    return pass;
  }

  #passTime(ms: number): void {
    this.#world.nowMs += ms;
    this.#note(`${ms / 1000} s pass`);
  }

  #hurt(machine: Machine): void {
    const hurts: readonly [string, () => void][] = [
      ["dies", () => Object.assign(machine, { isUp: false, verdict: "unhealthy", verdictReason: "Silent" })],
      ["is silent", () => Object.assign(machine, { verdict: "unknown", verdictReason: "Silent" })],
      ["breaks", () => Object.assign(machine, { verdict: "unhealthy", verdictReason: "KubeletDown" })],
      ["is well", () => Object.assign(machine, { isUp: true, verdict: "healthy", verdictReason: "Beating" })],
      ["is in a disrupted cell", () => Object.assign(machine, { disruption: "zone is disrupted" })],
      ["is in a calm cell", () => Object.assign(machine, { disruption: undefined })],
      ["hangs when drained", () => Object.assign(machine, { isDrainStuck: true })],
      ["can be drained", () => Object.assign(machine, { isDrainStuck: false })],
      ["cannot have its plan made", () => Object.assign(machine, { obstacle: { reason: "PlanNotPossible", message: "no such key" } })],
      [
        "has an agent that lacks a step kind",
        () => Object.assign(machine, { obstacle: { reason: "Unsupported", message: "it cannot do images" } }),
      ],
      ["can have its plan made", () => Object.assign(machine, { obstacle: undefined })],
      ["drifts", () => Object.assign(machine, { drift: { impact: "restart", sinceMs: this.#world.nowMs } })],
      ["fails its gate", () => Object.assign(machine, { gate: { state: this.#pick(["pending", "failed"]), message: "probe" } })],
      ["passes its gate", () => Object.assign(machine, { gate: { state: "passed", message: "" } })],
    ];
    const [words, act] = this.#pick(hurts);
    act();
    this.#note(`${machine.name} ${words}`);
  }

  #operate(set: string, machine: Machine): void {
    const world = this.#world;
    const held = world.store.get(maintenanceKey(machine.nodeId))?.value as MaintenanceEntry | undefined;
    const verbs: readonly [string, () => void][] = [
      ["pauses", () => world.speak({ isPaused: true }, set)],
      ["resumes", () => world.speak({ isPaused: false }, set)],
      ["aborts", () => world.speak({ isAborted: true }, set)],
      ["promotes", () => world.speak({ promotedWave: 1 + this.#below(3) }, set)],
      ["approves", () => world.approve(1 + this.#below(3), set)],
      ["retries", () => world.speak({ retriedAtMs: world.nowMs }, set)],
      ["rolls out", () => this.#rollOut(set)],
      ["rolls out", () => this.#rollOut(set)],
      [
        "freezes",
        () => world.speak({ opening: () => ({ isOpen: false, reason: "Frozen", message: "frozen", opensAtMs: undefined }) }, set),
      ],
      ["thaws", () => world.speak({ opening: () => ({ isOpen: true, closesAtMs: undefined }) }, set)],
      [`lets ${machine.name} rejoin`, () => world.rejoin(machine.name)],
      [`drains ${machine.name}`, () => held === undefined && world.maintain(machine.name, "Operator", "drain")],
      [`repairs ${machine.name}`, () => held === undefined && world.maintain(machine.name, "Repair", "cordon")],
      [
        `lets ${machine.name} back`,
        () => held !== undefined && held.owner !== "Rollout" && world.maintain(machine.name, held.owner, "release"),
      ],
      [`gives ${machine.name} to another set`, () => Object.assign(machine, { set: this.#pick(this.#sets) })],
      ["sees a node join", () => this.#join()],
      ["takes a backup", () => (this.#backup = world.backup())],
      ["restores the backup", () => this.#backup !== undefined && world.restore(this.#backup)],
      ["accepts the backup", () => world.isRestored && this.#accept()],
    ];
    const [words, act] = this.#pick(verbs);
    act();
    this.#note(`an operator ${words} (${set})`);
  }

  /** In the grace that follows nodes tell what they are at. */
  #accept(): void {
    this.#world.acceptRestored();
    this.#world.collect();
  }

  #lose(machine: Machine): void {
    const world = this.#world;
    if (!machine.isUp && world.machines.size > 1) {
      world.store.put(maintenanceKey(machine.nodeId), undefined);
      world.machines.set(machine.name, machine.replacement(`${machine.nodeId}-again`));
      this.#note(`${machine.name} is replaced`);
    }
  }

  /** Nothing hurts any more: everything ends, and nothing that was taken out stays out. */
  #calmDown(): void {
    const world = this.#world;
    if (world.isRestored) this.#accept();
    for (const machine of world.machines.values()) {
      const held = world.store.get(maintenanceKey(machine.nodeId))?.value as MaintenanceEntry | undefined;
      if (held !== undefined && held.owner !== "Rollout") world.maintain(machine.name, held.owner, "release");
      Object.assign(machine, {
        isUp: true,
        verdict: "healthy",
        verdictReason: "Beating",
        disruption: undefined,
        obstacle: undefined,
        drift: undefined,
        isDrainStuck: false,
        workMs: 1_000,
      });
      machine.gate = { state: "passed", message: "" };
      machine.fate = () => ({ outcome: "enforced" });
    }
    for (const set of this.#sets) {
      this.#rollOut(set);
      world.speak({ promotedWave: 9, opening: () => ({ isOpen: true, closesAtMs: undefined }) }, set);
    }
    for (let round = 0; round < CALM_ROUNDS && !this.#isAllDone(); round += 1) {
      world.nowMs += 5_000;
      for (const machine of world.machines.values()) {
        machine.work(world.nowMs);
        world.serve(machine);
      }
      world.collect();
      for (const set of this.#sets) {
        world.controller.look(world.store, world.machines.values());
        this.#decide(set, undefined, true);
        for (const wave of world.rollout(set)!.progress?.waves.keys() ?? []) world.approve(wave + 1, set);
        const gates = world.rollout(set)!.waveGates;
        world.speak(
          { waveGates: new Map([...gates.keys()].map((wave) => [wave, { isPassed: true, message: "fine", atMs: world.nowMs }])) },
          set,
        );
      }
      for (const machine of world.machines.values()) world.deliver(machine);
      if (this.#violations.length > 0) return;
    }
    if (!this.#isAllDone())
      this.#violations.push(`it never ends: ${this.#sets.map((set) => JSON.stringify(world.rollout(set)?.progress)).join("; ")}`);
  }

  #isAllDone(): boolean {
    const world = this.#world;
    const isComplete = this.#sets.every((set) => {
      const phase = world.rollout(set)?.progress?.phase;
      return phase === "Complete" || (phase === "Pending" && ![...world.machines.values()].some((machine) => machine.set === set));
    });
    return (
      isComplete &&
      [...world.machines.values()].every(({ nodeId, isCordoned }) => !isCordoned && world.store.get(maintenanceKey(nodeId)) === undefined)
    );
  }

  #note(line: string): void {
    this.#log.push(`${this.#world.nowMs / 1000} s: ${line}`);
  }
}
