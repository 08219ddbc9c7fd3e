/**
 * A rollout told as a story: what happens when, played on a World until nothing changes any more, and written down as prose. The same story can be
 * played with reports shuffled and doubled, with a controller that is killed in the middle of a commit, and with a second controller that lags behind.
 */
import type { Decision, Progress, ResolvedStrategy } from "../model.ts";
import { RehearsalController, type MaintenanceEntry, maintenanceKey, type Pass, rolloutOf } from "./controller.ts";
import type { Machine } from "./machine.ts";
import { World } from "./world.ts";

export interface Variation {
  /** Reports arrive shuffled and doubled, and the controller decides after each of them. */
  readonly seed?: number;
  /** In this pass of those that commit anything (from 0) only so many decisions are committed; then the controller is killed. */
  readonly kill?: { readonly pass: number; readonly after: number };
  /** A second controller, which looks only every other time, tries to commit as well. */
  readonly isDoubled?: boolean;
}

interface Event {
  readonly atMs: number;
  readonly words: string;
  readonly act: () => void;
}

const MAX_PASSES_AT_ONCE = 12;
const NAMES_SHOWN = 4;

export class Tale {
  readonly world: World;
  /** How many decisions each committing pass had: where it can be killed. */
  readonly commits: number[] = [];
  readonly #variation: Variation;
  readonly #events: Event[] = [];
  readonly #lines: string[] = [];
  readonly #told = new Map<string, string>();
  readonly #heard = new Map<string, readonly string[]>();
  readonly #webhook = new Map<number, boolean>();
  #sets: readonly string[] = [];
  #askAgainAtMs: number | undefined;
  #second: RehearsalController | undefined;
  #lost = 0;

  constructor(variation: Variation = {}) {
    this.#variation = variation;
    this.world = new World({ seed: variation.seed });
  }

  get text(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  /** How often a second controller lost. */
  get lostCommits(): number {
    return this.#lost;
  }

  nodes(names: string | readonly string[], set = "web", labels: Readonly<Record<string, string>> = {}): readonly Machine[] {
    return (typeof names === "string" ? names.split(" ") : names).map((name) => this.world.join(name, set, labels));
  }

  /** As if the revision were there from long ago, by a rollout that is forgotten. */
  begin(revision: string, strategy: Partial<ResolvedStrategy> = {}, set = "web", after?: string): void {
    const { name } = this.world.rollOut(set, revision, strategy, after);
    this.#sets = [...new Set([...this.#sets, set])];
    this.#say(`rollout ${name} to revision ${revision} begins`);
  }

  /** @param at minutes and seconds, as "01:30" */
  at(at: string, words: string, act: () => void): void {
    const [minutes, seconds] = at.split(":").map(Number);
    this.#events.push({ atMs: (minutes! * 60 + seconds!) * 1000, words, act });
  }

  /** What the webhook answers about a wave. */
  webhook(wave: number, isPassed: boolean): void {
    this.#webhook.set(wave, isPassed);
    for (const set of this.#sets) {
      const gates = this.world.rollout(set)!.waveGates;
      if (gates.has(wave)) this.world.speak({ waveGates: new Map([...gates, [wave, this.#answer(wave)]]) }, set);
    }
  }

  /** Plays until nothing changes any more, or until then. */
  play(until = "180:00"): this {
    const untilMs = Number(until.split(":")[0]) * 60_000;
    this.#events.sort((a, b) => a.atMs - b.atMs);
    for (;;) {
      this.#instant();
      const nextMs = this.#next();
      if (nextMs === undefined || nextMs > untilMs) return this;
      this.world.nowMs = nextMs;
    }
  }

  /** What must be the same however it came about. */
  end(): unknown {
    const { world } = this;
    return {
      rollouts: this.#sets.map((set) => {
        const progress = world.rollout(set)?.progress;
        return [set, progress?.phase, progress?.reason, progress?.updated, progress?.failed];
      }),
      nodes: [...world.machines.values()].map(({ name, nodeId, enforcedRevision, isCordoned, state }) => [
        name,
        enforcedRevision,
        state,
        isCordoned,
        world.store.get(maintenanceKey(nodeId)) !== undefined,
      ]),
    };
  }

  #instant(): void {
    const { world } = this;
    while (this.#events[0] !== undefined && this.#events[0].atMs <= world.nowMs) {
      const event = this.#events.shift()!;
      this.#say(event.words);
      event.act();
    }
    for (const machine of world.machines.values()) machine.work(world.nowMs);
    let heard = 0;
    world.collect((machine) => {
      if (machine.observed?.outcome !== "accepted") this.#hear(machine);
      // Of a large fleet after some: a thousand nodes are a thousand looks at a thousand.
      heard += 1;
      if (this.#variation.seed !== undefined && heard % Math.ceil(world.machines.size / 50) === 0) this.#passes();
    });
    for (const machine of world.machines.values()) {
      const phase = world.serve(machine);
      if (phase !== undefined) this.#say(`${machine.name} is ${phase === "timedOut" ? "given up for now: its drain timed out" : phase}`);
    }
    this.#passes();
    for (const machine of world.machines.values()) world.deliver(machine);
    this.#sayHeard();
  }

  #passes(): void {
    for (let count = 0; count < MAX_PASSES_AT_ONCE; count += 1) {
      this.#askAgainAtMs = undefined;
      const isNews = this.#sets.map((set) => this.#pass(set));
      if (!isNews.includes(true)) return;
    }
    this.world.violations.push(`at ${this.world.nowMs} ms there is something to commit for ever`);
  }

  #pass(set: string): boolean {
    const { kill } = this.#variation;
    const rivalIsFirst = this.#rival(set);
    const isKilled = kill !== undefined && kill.pass === this.commits.length;
    const pass = this.world.pass(set, isKilled ? kill.after : undefined);
    if (pass.isCut)
      this.#say(`the coordinator is killed with ${kill?.after} of its decisions committed; another begins without its memory`);
    const carried = pass.committed?.filter(({ type }) => type !== "askGate") ?? [];
    if (carried.length > 0 || pass.isCut) this.commits.push(carried.length);
    for (const decision of pass.decisions) {
      if (decision.type === "askAgain") this.#askAgainAtMs = Math.min(this.#askAgainAtMs ?? Infinity, decision.atMs);
    }
    this.#tell(pass, set);
    return this.#ask(pass, set) || pass.committed !== undefined || pass.isCut || rivalIsFirst;
  }

  /** It decides from what it saw a while ago, and writes what it must not. */
  #rival(set: string): boolean {
    if (this.#variation.isDoubled !== true) return false;
    const { world } = this;
    const own = world.controller;
    this.#second ??= new RehearsalController();
    world.controller = this.#second;
    const isStale = this.commits.length % 2 === 1;
    if (!isStale) this.#second.look(world.store, world.machines.values());
    else own.look(world.store, world.machines.values());
    let won = false;
    if (this.#second.situation(set, world.nowMs) !== undefined) {
      const pass = world.pass(set, undefined, true);
      won = pass.committed !== undefined;
      if (won) this.commits.push(pass.committed!.length);
      if (!won && pass.decisions.some(({ type }) => type === "move" || type === "drain")) {
        this.#lost += 1;
        this.#say("the second coordinator, which still thinks it leads, loses its commit: what it read has changed since");
      }
      if (won) this.#tell(pass, set);
    }
    world.controller = own;
    return won;
  }

  #ask(pass: Pass, set: string): boolean {
    const asked = this.world.askedGates(pass.decisions);
    const { waveGates } = this.world.rollout(set) ?? { waveGates: new Map() };
    const unanswered = asked.filter((wave) => !waveGates.has(wave));
    if (unanswered.length === 0) return false;
    for (const wave of unanswered) {
      const answer = this.#answer(wave);
      this.#say(`the webhook is asked about wave ${wave}: ${answer.message}`);
      this.world.speak({ waveGates: new Map([...this.world.rollout(set)!.waveGates, [wave, answer]]) }, set);
    }
    return true;
  }

  #answer(wave: number): { isPassed: boolean; message: string; atMs: number } {
    const isPassed = this.#webhook.get(wave) ?? true;
    return { isPassed, message: isPassed ? "error rate is fine" : "error rate is up", atMs: this.world.nowMs };
  }

  #next(): number | undefined {
    const { world } = this;
    const moments: number[] = [world.learningUntilMs];
    if (this.#askAgainAtMs !== undefined) moments.push(this.#askAgainAtMs);
    if (this.#events[0] !== undefined) moments.push(this.#events[0].atMs);
    for (const machine of world.machines.values()) {
      if (machine.isUp && machine.isAtWork) moments.push(machine.startedAtMs + machine.workMs);
      const entry = world.store.get(maintenanceKey(machine.nodeId))?.value as MaintenanceEntry | undefined;
      if (entry === undefined || (entry.wanted !== "release" && (entry.phase === "drained" || entry.phase === "timedOut"))) continue;
      const isResting = entry.wanted === "cordon" && entry.phase === "cordoned";
      if (isResting) continue;
      const isStuck = entry.phase === "draining" && entry.wanted !== "release" && machine.isDrainStuck;
      moments.push(isStuck ? entry.deadlineAtMs : world.nowMs + 1_000);
    }
    const later = moments.filter((atMs) => atMs > world.nowMs);
    return later.length === 0 ? undefined : Math.min(...later);
  }

  /** Reports of one moment that say the same are told together. */
  #hear({ name, observed }: Machine): void {
    const { generation, outcome, reason, message } = observed!;
    const words = `generation ${generation} is ${outcome}${reason === "" ? "" : ` (${reason}: ${message})`}`;
    this.#heard.set(words, [...(this.#heard.get(words) ?? []), name]);
  }

  #sayHeard(): void {
    const groups = [...this.#heard];
    this.#heard.clear();
    for (const [words, names] of groups) this.#say(`${listed(names)} ${names.length === 1 ? "reports" : "report"}: ${words}`);
  }

  #tell({ decisions, committed }: Pass, set: string): void {
    const { revision, name } = rolloutOf(this.world.store.snapshot(), set)!;
    const done = (type: Decision["type"]): readonly string[] =>
      (committed ?? []).flatMap((decision) => (decision.type === type && "name" in decision ? [decision.name] : []));
    for (const [type, words] of [
      ["drain", "to be drained first"],
      ["move", `moved to ${revision}`],
      ["release", "to be let back"],
    ] as const) {
      const names = done(type);
      if (names.length > 0) this.#say(`${listed(names)} ${names.length === 1 ? "is" : "are"} ${words}`);
      for (const each of names) this.#told.delete(each);
    }
    if (committed === undefined && this.#told.get(name) !== undefined) return;
    this.#tellWaiting(decisions);
    const progress = decisions.find((decision): decision is Progress => decision.type === "progress");
    if (progress !== undefined) this.#tellProgress(name, progress);
  }

  #tellWaiting(decisions: readonly Decision[]): void {
    const groups = new Map<string, string[]>();
    for (const decision of decisions) {
      if (decision.type !== "wait" || this.#told.get(decision.name) === decision.reason) continue;
      this.#told.set(decision.name, decision.reason);
      const words = `${decision.reason}: ${decision.message}`;
      groups.set(words, [...(groups.get(words) ?? []), decision.name]);
    }
    for (const [words, names] of groups) this.#say(`${listed(names)} ${names.length === 1 ? "waits" : "wait"}, ${words}`);
  }

  #tellProgress(name: string, progress: Progress): void {
    const { phase, reason, message, updated, total, inChange, failed } = progress;
    const words = `${phase}, ${reason}: ${updated} of ${total} updated, ${inChange} in change, ${failed} failed`;
    if (this.#told.get(name) === words) return;
    this.#told.set(name, words);
    this.#say(`rollout ${name} ${words}${phase === "Progressing" ? "" : ` (${message})`}`);
  }

  #say(line: string): void {
    this.#sayHeard();
    const seconds = Math.floor(this.world.nowMs / 1000);
    this.#lines.push(`${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}  ${line}`);
  }
}

function listed(names: readonly string[]): string {
  const some = names.slice(0, NAMES_SHOWN);
  if (names.length > some.length + 1) return `${some.join(", ")} and ${names.length - some.length} more`;
  return names.join(", ");
}
