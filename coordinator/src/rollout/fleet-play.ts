/** A fleet in memory that plays decisions out and writes down what happened as prose: for tests of decide() only. */
import { decide } from "./decide.ts";
import type { Decision, Elsewhere, FleetNode, FleetObserved, ResolvedStrategy, RolloutInput } from "./model.ts";

type PlayedNode = { -readonly [Field in keyof FleetNode]: FleetNode[Field] };

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

export class FleetPlay {
  readonly nodes = new Map<string, PlayedNode>();
  rollout: RolloutInput;
  elsewhere: readonly Elsewhere[] = [];
  nowMs = 0;
  #lines: string[] = [];
  readonly #told = new Map<string, string>();

  constructor(names: readonly string[], options: PlayOptions = {}) {
    this.rollout = {
      name: "web-1",
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

  get text(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  say(line: string): void {
    const seconds = Math.floor(this.nowMs / 1000);
    this.#lines.push(`${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}  ${line}`);
  }

  join(name: string): PlayedNode {
    const node: PlayedNode = {
      nodeId: `id-${name}`,
      name,
      labels: {},
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

  /** The node's report about its newest generation arrives. */
  reports(name: string, outcome: FleetObserved["outcome"], reason = "", message = ""): void {
    const node = this.node(name);
    const { planEpoch, generation } = node.desired!;
    const fingerprint = outcome === "enforced" || outcome === "accepted" || outcome === "none" ? undefined : `${reason}: ${message}`;
    node.observed = { planEpoch, generation, outcome, reason, message, fingerprint };
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

  /** A new rollout of another (or the same) revision supersedes the running one. */
  supersede(revision: string): void {
    this.rollout = { ...this.rollout, name: `web-${Number(this.rollout.name.slice(4)) + 1}`, revision };
    this.say(`rollout ${this.rollout.name} to revision ${revision} takes over`);
  }

  pass(ms: number): void {
    this.nowMs += ms;
  }

  /** Decides, does it, and tells what is new. */
  decide(): readonly Decision[] {
    const decisions = decide(this.rollout, [...this.nodes.values()], this.elsewhere, this.nowMs);
    for (const decision of decisions) this.#carryOut(decision);
    return decisions;
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
      case "wait":
        this.#tell(decision.name, `waits, ${decision.reason}: ${decision.message}`);
        return;
      case "progress": {
        const { phase, reason, message, updated, total, inChange, failed } = decision;
        this.#tell("rollout", `${phase}, ${reason} (${message}): ${updated} of ${total} updated, ${inChange} in change, ${failed} failed`);
        return;
      }
      case "drain":
      case "release":
      case "askGate":
        this.#tell(decision.type, JSON.stringify(decision));
        return;
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
