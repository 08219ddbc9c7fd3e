/**
 * A fleet in memory that plays decisions out and writes down what happened as prose: for tests of decide() only. Several sets play in one story when each
 * is made beside the one before.
 */
import { decide } from "./decide.ts";
import type { Decision, Elsewhere, FleetMaintenance, FleetNode, FleetObserved, Labels, ResolvedStrategy, RolloutInput } from "./model.ts";
import { isInChange, isUnavailable, standingOf } from "./standing.ts";

export type PlayedNode = { -readonly [Field in keyof FleetNode]: FleetNode[Field] };

export type PlayOptions = Partial<ResolvedStrategy>;

const PLAIN: ResolvedStrategy = {
  digest: "plain",
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

/** What all sets of a story share. */
class Story {
  nowMs = 0;
  readonly lines: string[] = [];
  readonly plays: FleetPlay[] = [];
}

export class FleetPlay {
  readonly nodes = new Map<string, PlayedNode>();
  rollout: RolloutInput;
  /** Besides what the other sets of the story show. */
  elsewhere: readonly Elsewhere[] = [];
  readonly #set: string;
  readonly #story: Story;
  readonly #told = new Map<string, string>();
  readonly #shown = new Map<string, FleetNode>();

  constructor(names: readonly string[], options: PlayOptions = {}, set = "web", beside?: FleetPlay) {
    this.#set = set;
    this.#story = beside === undefined ? new Story() : beside.#story;
    this.#story.plays.push(this);
    this.rollout = {
      name: `${set}-1`,
      revision: "A",
      strategy: { ...PLAIN, ...options },
      isPaused: false,
      isAborted: false,
      promotedWave: 0,
      approvals: new Map(),
      confirmedNodes: undefined,
      retriedAtMs: undefined,
      opening: { isOpen: true, closesAtMs: undefined },
      waitsFor: undefined,
      waveGates: new Map(),
      knownFingerprints: new Set(),
    };
    for (const name of names) this.join(name);
  }

  get nowMs(): number {
    return this.#story.nowMs;
  }

  get text(): string {
    return `${this.#story.lines.join("\n")}\n`;
  }

  say(line: string): void {
    const seconds = Math.floor(this.nowMs / 1000);
    this.#story.lines.push(`${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}  ${line}`);
  }

  pass(ms: number): void {
    this.#story.nowMs += ms;
  }

  join(name: string, labels: Labels = {}): PlayedNode {
    const node: PlayedNode = {
      nodeId: `id-${name}`,
      name,
      labels,
      verdict: "healthy",
      verdictReason: "Beating",
      desired: undefined,
      observed: undefined,
      obstacle: undefined,
      disruption: undefined,
      impact: "live",
      drift: undefined,
      isDrainable: false,
      maintenance: undefined,
      gate: { state: "passed", message: "" },
    };
    this.nodes.set(name, node);
    return node;
  }

  node(name: string): PlayedNode {
    return this.nodes.get(name)!;
  }

  /** As decide() is shown them: a node that did not change is the same object as before. */
  fleet(): readonly FleetNode[] {
    return [...this.nodes.values()].map((node) => {
      const before = this.#shown.get(node.name);
      if (before !== undefined && Object.entries(node).every(([field, value]) => before[field as keyof FleetNode] === value)) return before;
      const shown = { ...node };
      this.#shown.set(node.name, shown);
      return shown;
    });
  }

  /** The node's report about its newest generation arrives. Two failures with one fingerprint look alike; left out, reason and message are it. */
  reports(name: string, outcome: FleetObserved["outcome"], reason = "", message = "", fingerprint = `${reason}: ${message}`): void {
    const node = this.node(name);
    const { planEpoch, generation } = node.desired!;
    const isFailure = outcome === "failed" || outcome === "rejected" || outcome === "refused";
    node.observed = { planEpoch, generation, outcome, reason, message, fingerprint: isFailure ? fingerprint : undefined };
    if (outcome === "enforced") node.drift = undefined;
    this.say(`${name} reports: generation ${generation} is ${outcome}${reason === "" ? "" : ` (${reason}: ${message})`}`);
  }

  becomes(name: string, verdict: FleetNode["verdict"], reason: string): void {
    Object.assign(this.node(name), { verdict, verdictReason: reason });
    this.say(`${name} becomes ${verdict} (${reason})`);
  }

  /** The cell that these nodes are in becomes disrupted, or calm again. */
  disrupt(cell: string, names: readonly string[], isDisrupted: boolean): void {
    for (const name of names) this.node(name).disruption = isDisrupted ? `${cell} is disrupted` : undefined;
    this.say(`${cell} (${names.join(", ")}) is ${isDisrupted ? "disrupted" : "calm again"}`);
  }

  /** An operator asks that the node be reset and join its cluster again. */
  rejoin(name: string): void {
    const node = this.node(name);
    node.desired = { ...node.desired!, isRejoinDue: true };
    this.say(`it is asked that ${name} joins again`);
  }

  drifts(name: string, impact: NonNullable<FleetNode["drift"]>["impact"]): void {
    this.node(name).drift = { impact, sinceMs: this.nowMs };
    this.say(`${name} drifts; to mend it is ${impact}`);
  }

  /** What the gates say of the change that the node enforces. */
  gates(name: string, state: FleetNode["gate"]["state"], message = ""): void {
    this.node(name).gate = { state, message };
    this.say(`the gates of ${name} are ${state}${message === "" ? "" : ` (${message})`}`);
  }

  /** maintenance/ gets that far with the node's drain. */
  drains(name: string, phase: FleetMaintenance["phase"], message = ""): void {
    const node = this.node(name);
    const revisitAtMs = phase === "timedOut" ? this.nowMs + this.rollout.strategy.drain.revisitAfterMs : undefined;
    node.maintenance = { ...node.maintenance!, phase, message, revisitAtMs };
    this.say(`${name} is ${phase}${message === "" ? "" : ` (${message})`}`);
  }

  /** maintenance/ has uncordoned it. */
  isLetBack(name: string): void {
    this.node(name).maintenance = undefined;
    this.say(`${name} is let back into its cluster`);
  }

  /** An operator or a repair takes the node out, and has it to himself. */
  takesOut(name: string, owner: "Operator" | "Repair", ownerName: string): void {
    this.node(name).maintenance = { owner, ownerName, wanted: "drain", phase: "drained", message: "", revisitAtMs: undefined };
    this.say(`${ownerName} takes ${name} out`);
  }

  /** An approver approves what the wave shows now, or what he saw before. */
  approve(wave: number, digest = this.digestOf(wave)): void {
    this.rollout = { ...this.rollout, approvals: new Map([...this.rollout.approvals, [wave, digest]]) };
    this.say(`wave ${wave} of ${this.rollout.name} is approved`);
  }

  digestOf(wave: number): string {
    const progress = this.#decided().find((decision) => decision.type === "progress");
    return (progress?.type === "progress" ? progress.waves[wave - 1]?.approvalDigest : undefined) ?? "none";
  }

  webhookSays(wave: number, isPassed: boolean, message = isPassed ? "200" : "503"): void {
    this.rollout = { ...this.rollout, waveGates: new Map([...this.rollout.waveGates, [wave, { isPassed, message, atMs: this.nowMs }]]) };
    this.say(`the webhook ${isPassed ? "lets" : "does not let"} wave ${wave} pass (${message})`);
  }

  /** An operator, a window or another set changes what holds for the rollout. */
  now(what: string, change: Partial<RolloutInput>): void {
    this.rollout = { ...this.rollout, ...change };
    this.say(what);
  }

  /** A new rollout of another (or the same) revision supersedes the running one. */
  supersede(revision: string): void {
    const number = Number(this.rollout.name.slice(this.#set.length + 1)) + 1;
    this.rollout = { ...this.rollout, name: `${this.#set}-${number}`, revision };
    this.say(`rollout ${this.rollout.name} to revision ${revision} takes over`);
  }

  /** Nodes that are in change or unavailable: what other sets count besides their own. */
  away(): readonly Elsewhere[] {
    return this.fleet().flatMap((node) => {
      const standing = standingOf(node, this.rollout, this.rollout.strategy.soakMs, this.nowMs);
      return isUnavailable(node, standing) ? [{ name: node.name, labels: node.labels, isInChange: isInChange(node, standing) }] : [];
    });
  }

  /** Decides, does it, and tells what is new. */
  decide(): readonly Decision[] {
    const decisions = this.#decided();
    for (const decision of decisions) this.#carryOut(decision);
    return decisions;
  }

  #decided(): readonly Decision[] {
    const others = this.#story.plays.filter((play) => play !== this).flatMap((play) => play.away());
    return decide(this.rollout, this.fleet(), [...this.elsewhere, ...others], this.nowMs);
  }

  #carryOut(decision: Decision): void {
    switch (decision.type) {
      case "move": {
        const node = this.node(decision.name);
        const generation = (node.desired?.generation ?? 0) + 1;
        const { name: rollout, revision } = this.rollout;
        node.desired = {
          planEpoch: 1,
          generation,
          revision,
          rollout,
          decidedAtMs: this.nowMs,
          enforcedAtMs: undefined,
          isRejoinDue: false,
        };
        this.#tell(decision.name, `is moved to ${revision}, generation ${generation}`);
        return;
      }
      case "settle": {
        const node = this.node(decision.name);
        node.desired = { ...node.desired!, enforcedAtMs: this.nowMs };
        this.#told.delete(decision.name);
        return;
      }
      case "drain":
        this.node(decision.name).maintenance = {
          owner: "Rollout",
          ownerName: this.rollout.name,
          wanted: "drain",
          phase: "waiting",
          message: "",
          revisitAtMs: undefined,
        };
        this.#tell(decision.name, `is to be drained until ${decision.deadlineAtMs / 1000} s`);
        return;
      case "release": {
        const node = this.node(decision.name);
        node.maintenance = { ...node.maintenance!, wanted: "release" };
        this.#told.delete(decision.name);
        this.say(`${decision.name} is to be let back`);
        return;
      }
      case "wait":
        this.#tell(decision.name, `waits, ${decision.reason}: ${decision.message}`);
        return;
      case "askGate":
        this.#tell("the webhook", `is asked about wave ${decision.wave}`);
        return;
      case "progress": {
        const { phase, reason, message, updated, total, inChange, failed, waves } = decision;
        const who = this.#story.plays.length > 1 ? `rollout ${this.rollout.name}` : "rollout";
        if (waves.length > 1) {
          for (const wave of waves) {
            const text = `of ${wave.nodes} is ${wave.phase}, ${wave.updated} updated`;
            if (wave.phase !== "Pending") this.#tell(this.#story.plays.length > 1 ? `${this.#set}'s ${wave.name}` : wave.name, text);
          }
        }
        this.#tell(who, `${phase}, ${reason} (${message}): ${updated} of ${total} updated, ${inChange} in change, ${failed} failed`);
        return;
      }
      case "askAgain":
        this.#tell("asks again", `at ${decision.atMs / 1000} s`);
    }
  }

  #tell(who: string, what: string): void {
    if (this.#told.get(who) === what) return;
    this.#told.set(who, what);
    this.say(`${who} ${what}`);
  }
}
