/** A fleet in memory that plays decisions of repairs out and writes down what happened as prose: for tests of decideRepairs() only. */
import type { Repair, Rung } from "@drover/api";
import { resolveStrategy } from "../rollout/strategy.ts";
import { decideRepairs } from "./decide-repairs.ts";
import type { ControlPlanes, RepairDecision, RepairNode, RepairSet, RepairsInput } from "./model.ts";
import { asked, begun, climbed, done, ended, judged, notBegun, waiting, withEvidence } from "./progress.ts";
import { newRepair, nextRepairName } from "./records.ts";
import { isInFlight, lastAttempt, type RepairStatus } from "./standing.ts";

type Played = { -readonly [K in keyof RepairNode]: RepairNode[K] };

export const playedSet = (name: string, more: Partial<RepairSet> = {}): RepairSet => ({
  name,
  cluster: "",
  size: 0,
  strategy: resolveStrategy({ maxUnavailable: 1, soak: "0s", progressDeadline: "10m", failureBudget: 0 }, 1),
  allowControlPlaneDowntime: false,
  remediation: {
    unhealthyForMs: 600_000,
    rungs: ["RestartUnits", "Reapply", "Repull", "Rejoin", "HandOver"],
    units: ["containerd.service", "kubelet.service"],
    topologyKey: "zone",
    opening: { isOpen: true, closesAtMs: undefined },
  },
  ...more,
});

export class RepairPlay {
  readonly nodes = new Map<string, Played>();
  readonly repairs = new Map<string, Repair>();
  readonly sets = new Map<string, RepairSet>();
  readonly controlPlanes = new Map<string, ControlPlanes>();
  fleetSize = 100;
  nowMs: number;
  readonly #startMs: number;
  readonly #lines: string[] = [];
  readonly #told = new Map<string, string>();

  constructor(nowMs = Date.UTC(2026, 0, 1)) {
    this.nowMs = this.#startMs = nowMs;
  }

  get text(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  get input(): RepairsInput {
    const nodes = [...this.nodes.values()].map((node) => ({ ...node }));
    const sets = new Map([...this.sets].map(([name, set]) => [name, { ...set, size: nodes.filter((node) => node.set === name).length }]));
    return { repairs: [...this.repairs.values()], nodes, sets, fleetSize: this.fleetSize, controlPlanes: this.controlPlanes };
  }

  say(line: string): void {
    const seconds = Math.floor((this.nowMs - this.#startMs) / 1000);
    this.#lines.push(`${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}  ${line}`);
  }

  join(name: string, set: string | undefined, more: Partial<RepairNode> = {}): Played {
    const node: Played = {
      nodeId: `id-${name}`,
      name,
      labels: { zone: "a" },
      set,
      cluster: set === undefined ? "" : (this.sets.get(set)?.cluster ?? ""),
      verdict: "healthy",
      verdictReason: "Beating",
      verdictSinceMs: this.#startMs,
      disruption: undefined,
      isInChange: false,
      isUnavailable: false,
      rolloutHold: undefined,
      maintenance: undefined,
      controlPlaneScope: undefined,
      kubernetes: undefined,
      lastBeatAtMs: this.nowMs,
      bootId: "boot-1",
      plan: { generation: 1, outcome: "enforced", message: "", hasOpenDrift: false, isJoining: false },
      ...more,
    };
    this.nodes.set(name, node);
    return node;
  }

  node(name: string): Played {
    return this.nodes.get(name)!;
  }

  becomes(name: string, verdict: RepairNode["verdict"], reason: string): void {
    const node = this.node(name);
    Object.assign(node, {
      verdict,
      verdictReason: reason,
      verdictSinceMs: this.nowMs,
      isUnavailable: verdict !== "healthy" || node.isInChange,
    });
    this.say(`${name} becomes ${verdict} (${reason})`);
  }

  ask(name: string, rungs: Rung[], requestedBy = "operator:ann"): string {
    const node = this.node(name);
    const repair = nextRepairName(name, this.repairs.keys());
    const spec = { node: node.nodeId, nodeName: name, rungs, units: ["kubelet.service"], reason: "asked", requestedBy };
    this.repairs.set(repair, { ...newRepair(spec, repair, `uid-${repair}`, new Date(this.nowMs).toISOString()), status: notBegun });
    this.say(`${requestedBy} asks for ${rungs.join(", ")} of ${name}: ${repair}`);
    return repair;
  }

  cancel(repair: string): void {
    const held = this.repairs.get(repair)!;
    this.repairs.set(repair, { ...held, spec: { ...held.spec, cancelled: true } });
    this.say(`${repair} is cancelled`);
  }

  status(repair: string): RepairStatus {
    return this.repairs.get(repair)!.status!;
  }

  /** The answer to what the node was asked arrives. */
  answers(repair: string, isDone: boolean, message: string): void {
    const held = this.repairs.get(repair)!;
    const of = { repair, nodeId: held.spec.node, name: held.spec.nodeName };
    this.say(`${of.name} answers: ${lastAttempt(held)!.rung} ${isDone ? "done" : "not done"} (${message})`);
    const judgement = { type: "judge", ...of, outcome: "Failed", message, nextAtMs: this.nowMs + 60_000 } as const;
    this.#set(repair, isDone ? done(held.status!, message, this.nowMs) : judged(held.status!, judgement, this.nowMs));
  }

  /** Time passes; nodes that are not silent beat, and their clusters are asked. */
  pass(ms: number): void {
    this.nowMs += ms;
    for (const node of this.nodes.values()) {
      if (node.verdictReason !== "Silent") node.lastBeatAtMs = this.nowMs;
      if (node.kubernetes !== undefined) node.kubernetes = { ...node.kubernetes, readAtMs: this.nowMs };
    }
  }

  /** Decides until nothing more follows, does it, and tells what is new. @returns the decisions of the last look */
  decide(): readonly RepairDecision[] {
    for (let looks = 0; looks < 50; looks += 1) {
      const decisions = decideRepairs(this.input, this.nowMs);
      let isDone = true;
      for (const decision of decisions) if (this.carryOut(decision)) isDone = false;
      if (isDone) return decisions;
    }
    throw new Error(`decides for ever:\n${this.text}`);
  }

  /** @returns whether it changed what is stored */
  carryOut(decision: RepairDecision): boolean {
    switch (decision.type) {
      case "create": {
        const { nodeId, name, rungs, units, reason } = decision;
        const repair = nextRepairName(name, this.repairs.keys());
        const spec = { node: nodeId, nodeName: name, rungs: [...rungs], units: [...units], reason, requestedBy: "coordinator" };
        this.repairs.set(repair, newRepair(spec, repair, `uid-${repair}`, new Date(this.nowMs).toISOString()));
        this.#set(repair, begun(rungs[0]!, this.nowMs));
        this.#takePlace(name, repair);
        return this.#tell(name, `${name} is repaired without being asked: ${repair}, ${reason.replace(/ since .*/, "")}`);
      }
      case "begin":
        this.#set(decision.repair, begun(decision.rung, this.nowMs));
        if (isInFlight(this.repairs.get(decision.repair)!)) this.#takePlace(decision.name, decision.repair);
        return this.#tell(decision.repair, `${decision.repair} begins with ${decision.rung}`);
      case "hold": {
        const { name, repair, wanted } = decision;
        this.node(name).maintenance = { owner: "Repair", ownerName: repair, wanted, phase: "waiting", message: "", revisitAtMs: undefined };
        return this.#tell(repair, `${repair} has ${name} ${wanted === "drain" ? "drained" : "held"} first`);
      }
      case "gather":
        this.#set(decision.repair, withEvidence(this.status(decision.repair), decision.evidence));
        return this.#tell(decision.repair, `${decision.repair} has evidence ${decision.evidence}`);
      case "ask": {
        const { repair, rung, name, bootId } = decision;
        const isOwn = rung === "Reapply" || rung === "Rejoin";
        const plan = this.node(name).plan;
        const generation = isOwn ? plan!.generation + 1 : undefined;
        if (generation !== undefined) this.node(name).plan = { ...plan!, generation, outcome: "none" };
        this.#set(repair, asked(this.status(repair), bootId, generation, this.nowMs));
        return this.#tell(
          repair,
          generation === undefined ? `${repair} asks ${name} for ${rung}` : `${repair} gives ${name} generation ${generation}`,
        );
      }
      case "done":
        this.#set(decision.repair, done(this.status(decision.repair), decision.message, this.nowMs));
        return this.#tell(decision.repair, `${decision.repair}: ${decision.message}`);
      case "judge":
        this.#set(decision.repair, judged(this.status(decision.repair), decision, this.nowMs));
        return this.#tell(decision.repair, `${decision.repair}: ${decision.message}`);
      case "climb":
        this.#set(decision.repair, climbed(this.status(decision.repair), decision.rung, decision.index, this.nowMs));
        return this.#tell(decision.repair, `${decision.repair} goes on with ${decision.rung}`);
      case "end":
        this.#set(decision.repair, ended(this.status(decision.repair), decision, this.nowMs));
        this.#givePlaceBack(decision.name);
        return this.#tell(decision.repair, `${decision.repair} ends ${decision.phase}, ${decision.reason}: ${decision.message}`);
      case "release":
        this.#givePlaceBack(decision.name);
        return this.#tell(decision.name, `${decision.name} is let go`);
      case "clear":
        this.#set(decision.repair, { ...this.status(decision.repair), clearedAt: new Date(this.nowMs).toISOString() });
        return this.#tell(decision.repair, `${decision.name} has been healthy for an hour since ${decision.repair}`);
      case "wait":
        if (decision.repair !== undefined) this.#set(decision.repair, waiting(this.status(decision.repair), decision));
        this.#tell(decision.repair ?? decision.name, `${decision.repair ?? decision.name} waits, ${decision.reason}: ${decision.message}`);
        return false;
      case "run":
      case "askAgain":
        return false;
    }
  }

  #set(repair: string, status: RepairStatus): void {
    this.repairs.set(repair, { ...this.repairs.get(repair)!, status });
  }

  #takePlace(name: string, repair: string): void {
    this.node(name).maintenance ??= {
      owner: "Repair",
      ownerName: repair,
      wanted: "cordon",
      phase: "waiting",
      message: "",
      revisitAtMs: undefined,
    };
  }

  #givePlaceBack(name: string): void {
    const node = this.nodes.get(name);
    if (node?.maintenance?.owner === "Repair") node.maintenance = undefined;
  }

  #tell(who: string, what: string): true {
    if (this.#told.get(who) !== what) this.say(what);
    this.#told.set(who, what);
    return true;
  }
}
