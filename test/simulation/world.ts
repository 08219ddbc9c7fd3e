/** Everything of one run put together: clock, bus, coordinator, machines with agents, sessions, and who watches them. */
import { API_VERSION, type Node, type Rung } from "@drover/api";
import { type Log, type Random, seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { crc32 } from "node:zlib";
import { keys, memoryBus, type MemoryBus, type NodeRecord, type ReportLog } from "@drover/coordinator";
import type { StateDirectory } from "@drover/agent";
import { ControlRolloutRequest, CreateRepairsRequest, RolloutVerb } from "@drover/proto";
import { base32Text } from "../../coordinator/src/identity/node-names.ts";
import type { FleetState } from "../../coordinator/src/fleet/fleet-state.ts";
import { NodeLink } from "./bus-sides.ts";
import { acknowledgedReports, type Checker, disruptionBudget, persistedFirst, risingPairs, silentZones, zoneBudget } from "./invariants.ts";
import { confirmations } from "./confirmations.ts";
import { addressOf } from "./machine.ts";
import type { Observation } from "./observations.ts";
import { machineTruth } from "./machine-truth.ts";
import { repairLimits } from "./repair-limits.ts";
import { CONFIRM_WITHIN_MS, kernelDefaults, RUNTIME_UNIT, type Scenario, ZONE_LABEL, zoneOf } from "./scenario.ts";
import { SessionNetwork } from "./session-network.ts";
import { SimulatedCoordinator } from "./simulated-coordinator.ts";
import { SimulatedNode } from "./simulated-node.ts";
import { Transcript } from "./transcript.ts";

type Verdict = "healthy" | "unhealthy" | "unknown";

/** What the protocol calls many of a cell. */
const FEWEST_TOGETHER = 3;
const SHARE_TOGETHER = 0.2;
/** An interval of beats and the bus's worst delay: whoever was heard no longer ago is not suspected before the others of its zone are. */
const HEARD_LATELY_MS = 12_000;
/** By then a node that is reachable again has been asked again. */
const REACHED_WITHIN_MS = 150_000;
/** By then whoever decides has seen it. */
const VERDICT_SETTLED_MS = 10_000;

export interface Violation {
  readonly invariant: string;
  readonly message: string;
  /** Virtual milliseconds since the start. */
  readonly atMs: number;
}

/** What a test breaks, to see that it is found. */
export interface Tampering {
  readonly state?: (state: StateDirectory) => StateDirectory;
  readonly reportLog?: (log: ReportLog) => ReportLog;
  readonly strike?: { readonly atMinute: number; readonly with: (world: World) => Promise<void> };
}

export interface WorldParts {
  readonly seed: number;
  readonly agents: number;
  readonly scenario: Scenario;
  readonly tampering?: Tampering;
  readonly log?: Log;
}

export class World {
  readonly clock: VirtualClock;
  readonly transcript: Transcript;
  readonly bus: MemoryBus;
  readonly network: SessionNetwork;
  readonly coordinator: SimulatedCoordinator;
  readonly nodes: readonly SimulatedNode[];
  readonly violations: Violation[] = [];
  /** "node/epoch" to the highest seq that the coordinator has acknowledged. */
  readonly acknowledged = new Map<string, number>();
  /** By node id: the outbox that the last ack was for. */
  readonly #lastAcknowledged = new Map<string, { readonly epoch: string; readonly seq: number }>();
  readonly zones: readonly string[];
  readonly silentZones = new Set<string>();
  /** Ids of nodes that were heard until their zone fell silent. */
  readonly #fellTogether = new Set<string>();
  /** Ids of nodes that are cut off by themselves. */
  readonly #cutAlone = new Set<string>();
  /** By node id: when this life of the coordinator was given its last beat. */
  readonly #heardAtMs = new Map<string, number>();
  /** By node id: of those that were cut off. */
  readonly #reachableSinceMs = new Map<string, number>();
  /** By node id: since when the coordinator has held its verdict. */
  readonly #verdicts = new Map<string, { readonly verdict: Verdict; readonly sinceMs: number }>();
  readonly #zoneOf: ReadonlyMap<string, string | undefined>;
  readonly #seed: number;
  readonly #checkers: readonly Checker[];
  readonly #byId: ReadonlyMap<string, SimulatedNode>;
  #observed = 0;

  constructor({ seed, agents, scenario, tampering = {}, log = silentLog }: WorldParts) {
    this.#seed = seed;
    this.clock = new VirtualClock();
    this.transcript = new Transcript(this.clock);
    this.#checkers = [
      risingPairs(),
      disruptionBudget(scenario.maxUnavailable),
      acknowledgedReports(),
      persistedFirst(kernelDefaults),
      machineTruth((node) => this.#byId.get(node)!.machine),
      confirmations(() => this.clock.monotonicMs(), CONFIRM_WITHIN_MS),
      silentZones(() => this.clock.monotonicMs()),
      repairLimits({
        fleetSize: agents,
        zoneOf: (node) => this.#zoneOf.get(node),
        nowMs: () => this.clock.now(),
        settledVerdict: (node) => this.#settledVerdict(node),
        settledUnhealthy: () => this.nodes.filter(({ nodeId }) => this.#settledVerdict(nodeId) === "unhealthy").length,
      }),
      ...(scenario.zones === undefined ? [] : [zoneBudget(scenario.zones.maxUnavailable, (node) => this.#zoneOf.get(node))]),
    ];
    const { clock, transcript } = this;
    const observe = (observation: Observation): void => this.#observe(observation);
    const count = (actor: string, payload: Uint8Array): void => transcript.count(actor, payload);
    this.bus = memoryBus(clock, this.random("bus"));
    this.calmBus();
    const sessionRandom = this.random("sessions");
    this.network = new SessionNetwork({
      random: sessionRandom,
      latencyMs: () => 0.5 + 4 * sessionRandom.unit(),
      server: () => this.coordinator.server,
      isCutOff: (nodeId) => this.#byId.get(nodeId)?.link.isCut ?? true,
      say: (nodeId, event) => transcript.say(nodeId, event),
      confirmed: (node, { planEpoch, generation }) => observe({ type: "confirmed", node, planEpoch, generation }),
      refused: (node, { planEpoch, generation, reason }) => observe({ type: "refused", node, planEpoch, generation, reason }),
    });
    this.coordinator = new SimulatedCoordinator({
      clock,
      bus: this.bus,
      observe,
      count,
      random: this.random("coordinator"),
      log: log.child({ actor: "coordinator" }),
      say: (event) => transcript.say("coordinator", event),
      died: (life) => {
        this.#heardAtMs.clear();
        this.network.serverDied(life);
      },
      becameReady: () => this.#judgeMemory(),
      heard: (nodeId) => this.#heardAtMs.set(nodeId, clock.monotonicMs()),
      isReachable: (address) => this.nodes.some((node) => addressOf(node.name) === address && !node.link.isCut),
      ...(tampering.reportLog === undefined ? {} : { tamper: tampering.reportLog }),
    });
    this.nodes = Array.from({ length: agents }, (_, index) => {
      const name = `node-${String(index).padStart(4, "0")}`;
      const random = this.random(name);
      const nodeId = base32Text(random, 10);
      return new SimulatedNode({
        nodeId,
        name,
        clock,
        random,
        observe,
        link: new NodeLink(this.bus, nodeId, count),
        sessionsOf: (id, life) => this.network.sessionsOf(id, life),
        log: log.child({ actor: nodeId }),
        driftScanMs: scenario.driftScanMinutes * 60_000,
        say: (event) => transcript.say(nodeId, event),
        ...(tampering.state === undefined ? {} : { tamper: tampering.state }),
      });
    });
    this.#byId = new Map(this.nodes.map((node) => [node.nodeId, node]));
    this.#zoneOf = new Map(this.nodes.map(({ nodeId }, index) => [nodeId, zoneOf(index, scenario)]));
    this.zones = [...new Set(this.#zoneOf.values())].filter((zone) => zone !== undefined);
  }

  /** Cuts a node off, or lets it be there again; where its zone is silent it stays cut off until that is over, too. */
  cutOff(node: SimulatedNode, isCut: boolean): void {
    if (isCut) this.#cutAlone.add(node.nodeId);
    else this.#cutAlone.delete(node.nodeId);
    this.#linkAgain(node);
  }

  /** Cuts a whole zone off, or lets it be there again. */
  silence(zone: string, isSilent: boolean): void {
    if (this.silentZones.has(zone) === isSilent) return;
    if (isSilent) this.silentZones.add(zone);
    else this.silentZones.delete(zone);
    const nodes = this.nodes.filter(({ nodeId }) => this.#zoneOf.get(nodeId) === zone);
    for (const { nodeId, link } of nodes) {
      if (isSilent && !link.isCut && this.#verdictOf(nodeId) === "healthy" && this.#wasHeardWithin(HEARD_LATELY_MS, nodeId))
        this.#fellTogether.add(nodeId);
      else this.#fellTogether.delete(nodeId);
    }
    this.#observe({ type: "zone", zone, nodes: nodes.map(({ nodeId }) => nodeId), isSilent });
    for (const node of nodes) this.#linkAgain(node);
  }

  #linkAgain(node: SimulatedNode): void {
    const zone = this.#zoneOf.get(node.nodeId);
    const wasCut = node.link.isCut;
    const isCut = this.#cutAlone.has(node.nodeId) || (zone !== undefined && this.silentZones.has(zone));
    if (wasCut && !isCut) this.#reachableSinceMs.set(node.nodeId, this.clock.monotonicMs());
    node.link.setCut(isCut);
    if (isCut) this.network.cut(node.nodeId, true);
  }

  #wasHeardWithin(ms: number, nodeId: string): boolean {
    const atMs = this.#heardAtMs.get(nodeId);
    return atMs !== undefined && this.clock.monotonicMs() - atMs <= ms;
  }

  #verdictOf(nodeId: string): Verdict | undefined {
    return this.coordinator.coordinator?.fleet.node(nodeId)?.health.verdict;
  }

  /**
   * Where a whole zone is silent nobody is called dead who fell with it, whatever the second path says. Who had not been heard for a while before it
   * may be; and where hardly anybody fell, or this coordinator has heard hardly anybody of them, a zone is not seen to fall.
   */
  judgeVerdicts(): void {
    this.#followVerdicts();
    this.#judgeTheReachable();
    for (const zone of this.silentZones) {
      const inZone = this.nodes.filter(({ nodeId }) => this.#zoneOf.get(nodeId) === zone);
      const fallen = inZone.filter(({ nodeId }) => this.#fellTogether.has(nodeId) && this.#heardAtMs.has(nodeId));
      if (fallen.length < Math.max(FEWEST_TOGETHER, Math.ceil(inZone.length * SHARE_TOGETHER))) continue;
      for (const { nodeId } of fallen) {
        const health = this.coordinator.coordinator?.fleet.node(nodeId)?.health;
        if (health?.verdict !== "unhealthy" || health.reason !== "Silent") continue;
        const message = `${nodeId} is called dead while all of ${zone} is silent`;
        this.violations.push({ invariant: "silent zones", message, atMs: this.clock.monotonicMs() });
      }
    }
  }

  /** Silence alone is not death: who answers by another way is not called dead, whether or not its agent runs. */
  #judgeTheReachable(): void {
    const nowMs = this.clock.monotonicMs();
    for (const { nodeId, link } of this.nodes) {
      const health = this.coordinator.coordinator?.fleet.node(nodeId)?.health;
      if (health?.verdict !== "unhealthy" || health.reason !== "Silent" || link.isCut) continue;
      const sinceMs = this.#reachableSinceMs.get(nodeId);
      if (sinceMs !== undefined && nowMs - sinceMs < REACHED_WITHIN_MS) continue;
      this.#judged("false deaths", `${nodeId} is called dead, and its machine answers`);
    }
  }

  /** I5 at a start of the coordinator: whatever was acknowledged is known. */
  #judgeMemory(): void {
    const fleet = this.coordinator.coordinator?.fleet as Partial<Pick<FleetState, "takenOf">> | undefined;
    for (const [nodeId, { epoch, seq }] of this.#lastAcknowledged) {
      const taken = fleet?.takenOf?.(nodeId, epoch) ?? 0;
      if (taken < seq) this.#judged("I5", `${nodeId}/${epoch} was acknowledged through ${seq}, a coordinator that starts knows ${taken}`);
    }
  }

  /** What should have happened by now. */
  lookForWhatIsDue(): void {
    for (const checker of this.#checkers) this.#judged(checker.name, checker.look?.());
  }

  /** An operator's wish; the coordinator may be away, or refuse. */
  async askForRepair({ nodeId }: SimulatedNode, rung: Rung): Promise<void> {
    const repairs = this.coordinator.coordinator?.operator.repairs;
    if (repairs === undefined) return;
    const units = rung === "RestartUnits" ? [RUNTIME_UNIT] : [];
    const wish = { nodes: [nodeId], labelSelector: "", rungs: [rung], units, reason: "it may help", confirmedNodes: 0 };
    const answer = await repairs.create(CreateRepairsRequest.fromPartial(wish), false, "operator:simulation").then(
      ([seen]) => `asked for ${seen?.object.metadata.name ?? ""}: ${rung}`,
      (error: unknown) => `no repair: ${error instanceof Error ? error.message : String(error)}`,
    );
    this.transcript.say("operator", answer);
  }

  /** An operator looks after a rollout that has stopped: nodes that undid it, for nobody could tell them to keep it, are tried again. */
  async retryWhatWasUndone(): Promise<void> {
    const { coordinator } = this.coordinator;
    if (coordinator === undefined) return;
    const isUndone = (nodeId: string): boolean => {
      const { outcome, reason } = coordinator.fleet.node(nodeId) ?? {};
      return outcome === "rejected" && (reason === "NotConfirmed" || reason === "BootedUnconfirmed");
    };
    for (const { value } of coordinator.catalog.objects("Rollout").values()) {
      if (value.status?.phase !== "Stopped" || !this.nodes.some(({ nodeId }) => isUndone(nodeId))) continue;
      const { name } = value.metadata;
      const request = ControlRolloutRequest.fromPartial({ name, verb: RolloutVerb.ROLLOUT_VERB_RETRY, reason: "it was undone" });
      const answer = await coordinator.operator.rollouts.control(request, "operator:simulation").then(
        () => "tries again what was undone",
        (error: unknown) => `cannot try again: ${error instanceof Error ? error.message : String(error)}`,
      );
      this.transcript.say("operator", `${name}: ${answer}`);
    }
  }

  #followVerdicts(): void {
    const atMs = this.clock.monotonicMs();
    for (const { nodeId } of this.nodes) {
      const verdict = this.#verdictOf(nodeId);
      if (verdict === undefined) this.#verdicts.delete(nodeId);
      else if (this.#verdicts.get(nodeId)?.verdict !== verdict) this.#verdicts.set(nodeId, { verdict, sinceMs: atMs });
    }
  }

  #settledVerdict(nodeId: string): Verdict | undefined {
    const held = this.#verdicts.get(nodeId);
    const isSettled =
      held !== undefined && held.verdict === this.#verdictOf(nodeId) && this.clock.monotonicMs() - held.sinceMs >= VERDICT_SETTLED_MS;
    return isSettled ? held.verdict : undefined;
  }

  /** Observations so far. */
  get observed(): number {
    return this.#observed;
  }

  /** A sequence of its own for each purpose, so that drawing more for one does not shift the others. */
  random(purpose: string): Random {
    return seededRandom(crc32(`${this.#seed}/${purpose}`));
  }

  /** Every machine as if it had enrolled: its record and its object are in the store. */
  async enrolAll(): Promise<void> {
    const { store } = this.coordinator;
    for (const { nodeId, name } of this.nodes) {
      const zone = this.#zoneOf.get(nodeId);
      const record: NodeRecord = {
        nodeId,
        name,
        enrolledAtMs: this.clock.now(),
        keyFingerprint: "",
        certificateSerial: "",
        certificateNotAfterMs: this.clock.now() + 7 * 86_400_000,
        natsPublicKey: nodeId,
        renewalCounter: 0,
        recoveredSerials: [],
        bakeManifestDigest: "",
      };
      const object: Node = {
        apiVersion: API_VERSION,
        kind: "Node",
        metadata: { name, uid: nodeId, labels: { pool: "workers", ...(zone === undefined ? {} : { [ZONE_LABEL]: zone }) } },
        spec: {},
      };
      const values = [
        [keys.node(nodeId), record],
        [keys.object("Node", name), object],
      ] as const;
      await store.commit(values.map(([key, value]) => ({ type: "put", key, value: Buffer.from(JSON.stringify(value)) })));
    }
  }

  calmBus(): void {
    const random = this.random("bus latency");
    Object.assign(this.bus.faults, { dropShare: 0, duplicateShare: 0, delayMs: () => 0.2 + 2 * random.unit() });
  }

  #observe(observation: Observation): void {
    this.#observed += 1;
    if (observation.type === "acknowledged") {
      const outbox = `${observation.node}/${observation.epoch}`;
      const { node, epoch } = observation;
      const known = this.#lastAcknowledged.get(node);
      this.#lastAcknowledged.set(node, { epoch, seq: known?.epoch === epoch ? Math.max(known.seq, observation.seq) : observation.seq });
      this.acknowledged.set(outbox, Math.max(observation.seq, this.acknowledged.get(outbox) ?? 0));
    }
    this.transcript.say("node" in observation ? observation.node : "store", describe(observation));
    for (const checker of this.#checkers) this.#judged(checker.name, checker.see(observation));
  }

  #judged(invariant: string, message: string | undefined): void {
    if (message === undefined) return;
    this.violations.push({ invariant, message, atMs: this.clock.monotonicMs() });
    this.transcript.say("checker", `${invariant} is broken: ${message}`);
  }
}

function describe(observation: Observation): string {
  switch (observation.type) {
    case "decided":
      return `decided ${observation.planEpoch}/${observation.generation} ${observation.revision.slice(7, 15)} by ${observation.rollout}`;
    case "zone":
      return `${observation.zone} is ${observation.isSilent ? "silent" : "there again"}`;
    case "rollout":
      return `${observation.name} ${observation.phase} ${observation.reason}`;
    case "repair":
      return `${observation.name} ${observation.repair.status?.phase ?? ""} ${observation.repair.status?.attempts.at(-1)?.rung ?? ""}`.trimEnd();
    case "accepted":
      return `accepted ${observation.planEpoch}/${observation.generation}`;
    case "intent":
      return `intends ${observation.kind} of ${observation.planEpoch}/${observation.generation}`;
    case "done":
      return `done ${observation.step} of ${observation.planEpoch}/${observation.generation}`;
    case "ended":
      return `ended ${observation.planEpoch}/${observation.generation} ${observation.outcome}`;
    case "finished":
      return `tells the end of ${observation.planEpoch}/${observation.generation}`;
    case "tried":
      return `keeps what it found for ${observation.planEpoch}/${observation.generation}: ${observation.phase}`;
    case "untried":
      return "forgets what it found";
    case "confirmed":
      return `is told to keep ${observation.planEpoch}/${observation.generation}`;
    case "life":
      return observation.isRunning ? "runs" : "runs no more";
    case "refused":
      return `refused ${observation.planEpoch}/${observation.generation} ${observation.reason}`;
    case "drifted":
      return `${observation.target} is changed by somebody`;
    case "effect":
      return `${observation.kind} ${observation.target} ${observation.value}`.trimEnd();
    case "logged":
    case "acknowledged":
    case "freed":
      return `${observation.type} ${observation.epoch}/${observation.seq}`;
  }
}
