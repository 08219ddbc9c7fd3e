/** Why a node may not begin now, whatever the budgets say: of the set, of its wave, of itself. Pure. */
import type { ImpactName } from "@drover/api";
import { IMPACTS } from "./approval.ts";
import type { Stop } from "./failures.ts";
import type { FleetNode, RolloutInput, WaitReason } from "./model.ts";
import { seconds, type Standing } from "./standing.ts";
import type { WaveState } from "./waves.ts";

/** Drift that returns has a cause that another slot does not mend. */
const SLOT_EVERY_MS = 3_600_000;
const LIVE = IMPACTS.indexOf("live");

export interface Judged {
  readonly rank: number;
  readonly node: FleetNode;
  readonly standing: Standing;
  /** Index. */
  readonly wave: number;
  readonly isInChange: boolean;
  /** Unavailable: the budgets count it already. */
  readonly isCounted: boolean;
  /** What was decided for it last may be under way. */
  readonly isAtWork: boolean;
}

export interface Scene {
  readonly input: RolloutInput;
  readonly now: number;
  readonly waves: readonly WaveState[];
  /** Index of the wave that runs; the last when all have passed. */
  readonly current: number;
  readonly isStopped: boolean;
  readonly setBlock: Block | undefined;
}

export interface Block {
  readonly reason: WaitReason;
  readonly message: string;
  /** Workloads come back to a node that was drained: it will not be moved for longer than a moment. */
  readonly isLettingGo: boolean;
  /** When that ends by itself. */
  readonly atMs?: number;
}

/** Why nobody of the set may begin. @param impact index in IMPACTS of the most that is left to disturb */
export function setBlock(input: RolloutInput, stop: Stop | undefined, nodes: number, impact: number): Block | undefined {
  const { opening, strategy, confirmedNodes } = input;
  if (input.isAborted) return lettingGo("Aborted", "the rollout was aborted; nobody else begins");
  if (stop !== undefined) return lettingGo("RolloutStopped", stop.message);
  if (input.isPaused) return holding("Paused", "the rollout is paused");
  if (input.waitsFor !== undefined) return lettingGo("WaitsForNodeSet", input.waitsFor);
  if (strategy.isAll && impact > LIVE) {
    const message = `all nodes at once is only for changes that are live, and this one is ${IMPACTS[impact]}; lower maxUnavailable`;
    return lettingGo("ImpactNotLive", message);
  }
  if (strategy.isAll && confirmedNodes !== nodes) {
    const confirmed = confirmedNodes === undefined ? "nobody has confirmed that count" : `${confirmedNodes} were confirmed`;
    return lettingGo("CountNotConfirmed", `all ${nodes} nodes would move at once, and ${confirmed}`);
  }
  return opening.isOpen ? undefined : lettingGo(opening.reason, opening.message);
}

/** Why no node of a later wave may begin. */
export function laterWave(waves: readonly WaveState[], current: number, wave: number, { waveGates }: RolloutInput): Block {
  const { name, phase, updated } = waves[current]!;
  const gate = waveGates.get(current + 1);
  const until =
    phase === "Gated"
      ? gate === undefined
        ? `the webhook was asked about ${name}`
        : `the webhook does not let ${name} pass: ${gate.message}`
      : `${name} is done${updated === 0 ? " with one node updated at least" : ""}`;
  return holding("LaterWave", `${waves[wave]!.name} begins when ${phase === "Gated" ? `its turn comes; ${until}` : until}`);
}

function awaitingApproval({ name, approvalDigest }: WaveState, wave: number): Block {
  return lettingGo("AwaitingApproval", `${name} waits for an approver: wave ${wave + 1}, digest ${approvalDigest}`);
}

/** Why no fresh node of the wave may begin. */
export function freshBlock({ setBlock, waves, current, input }: Scene, wave: number): Block | undefined {
  if (setBlock !== undefined) return setBlock;
  if (wave > current) return laterWave(waves, current, wave, input);
  return waves[wave]!.isApproved ? undefined : awaitingApproval(waves[wave]!, wave);
}

/** Why a node that is not where it should be does not begin; undefined: nothing but budgets. */
export function blockOf(judged: Judged, scene: Scene): Block | undefined {
  return ownBlock(judged, scene) ?? scene.setBlock ?? healthBlock(judged, scene) ?? drainBlock(judged, scene) ?? turnBlock(judged, scene);
}

function ownBlock({ node, standing, isAtWork }: Judged, { input, now, isStopped }: Scene): Block | undefined {
  const { strategy, isAborted } = input;
  const isOver = isAborted && !isAtWork;
  if (standing.is === "gating") return holding("GatePending", `${node.gate.state}: ${node.gate.message}`);
  if (node.obstacle !== undefined) return { ...node.obstacle, isLettingGo: !isAtWork };
  if (standing.is === "failed" && standing.isOurs && (isStopped || !standing.isRejoinDue)) {
    return { reason: "Failed", message: standing.message, isLettingGo: !isAtWork || now >= standing.deadlineMs };
  }
  if (standing.is === "changing" && standing.isOurs) {
    const message = `was given generation ${node.desired?.generation} and has ${seconds(strategy.progressDeadlineMs)} to enforce it`;
    return holding("InChange", message);
  }
  const { maintenance } = node;
  if (maintenance?.owner === "Repair") return holding("UnderRepair", `${maintenance.ownerName} repairs it: ${maintenance.phase}`);
  if (maintenance?.owner === "Operator") {
    return holding("UnderMaintenance", `${maintenance.ownerName} has taken it out: ${maintenance.phase}`);
  }
  if (node.disruption !== undefined) return { reason: "CellDisrupted", message: node.disruption, isLettingGo: isOver };
  if (node.verdict !== "unknown") return undefined;
  const message = `its health is unknown (${node.verdictReason}), and nothing is done to such a node`;
  return { reason: "NodeUnknown", message, isLettingGo: isOver };
}

function healthBlock({ node, standing }: Judged, { input, now }: Scene): Block | undefined {
  const isSlot = standing.is === "updated";
  if (node.verdict === "unhealthy" && (isSlot || standing.is === "behind")) {
    return lettingGo("NodeUnhealthy", `it is unhealthy (${node.verdictReason}) for another reason than our plan`);
  }
  if (!isSlot || node.drift === undefined) return undefined;
  const atMs = (node.desired?.decidedAtMs ?? 0) + SLOT_EVERY_MS;
  if (now < atMs) {
    return { ...lettingGo("DriftReturns", `it drifts (${node.drift.impact}), and was given its plan less than an hour ago`), atMs };
  }
  if (input.strategy.isAll && IMPACTS.indexOf(node.drift.impact) > LIVE) {
    return lettingGo(
      "ImpactNotLive",
      `to mend its drift is ${node.drift.impact}, and all nodes might be at it at once; lower maxUnavailable`,
    );
  }
  return undefined;
}

function drainBlock({ node }: Judged, { input, now }: Scene): Block | undefined {
  const { maintenance } = node;
  if (maintenance === undefined) return undefined;
  const { phase, message, revisitAtMs } = maintenance;
  if (maintenance.wanted === "release") return holding("UnderMaintenance", "it is being let back into its cluster first");
  if (phase === "timedOut") {
    if (revisitAtMs === undefined || revisitAtMs <= now) return undefined;
    const block = holding("DrainTimedOut", `its drain timed out (${message}); it is tried again in ${seconds(revisitAtMs - now)}`);
    return { ...block, atMs: revisitAtMs };
  }
  if (phase === "drained") return undefined;
  if (!needsDrain(node, input)) return lettingGo("UnderMaintenance", "it need not be drained any more, and is let back first");
  return holding("Draining", message === "" ? phase : `${phase}: ${message}`);
}

/** Drift belongs to the last wave, and what could not be drained goes behind the others. */
function turnBlock({ node, standing, wave }: Judged, { input, waves, current }: Scene): Block | undefined {
  const isLast = current === waves.length - 1;
  if (standing.is === "updated") return isLast ? undefined : { ...laterWave(waves, current, waves.length - 1, input), isLettingGo: true };
  if (node.maintenance?.phase === "timedOut" && wave < current && !isLast) {
    return holding("DrainTimedOut", `its drain timed out (${node.maintenance.message}); it is tried again after the others`);
  }
  // What is drained for its later turn would hold the budget that the running wave needs.
  if (wave > current) return { ...laterWave(waves, current, wave, input), isLettingGo: true };
  return waves[wave]!.isApproved ? undefined : awaitingApproval(waves[wave]!, wave);
}

/** Keeps the next wave from beginning: it is on its way, or we could still move it. */
export function isHolding({ node, standing, isAtWork }: Judged, now: number): boolean {
  switch (standing.is) {
    case "updated":
      return false;
    case "soaking":
    case "gating":
      return true;
    case "changing":
      return isAtWork || node.obstacle === undefined;
    case "failed":
      if (standing.isOurs && !standing.isRejoinDue) return isAtWork && now < standing.deadlineMs;
      break;
    case "behind":
      if (node.verdict === "unhealthy") return false;
  }
  const { maintenance } = node;
  if (node.obstacle !== undefined || node.verdict === "unknown") return false;
  return maintenance === undefined || (maintenance.owner === "Rollout" && maintenance.phase !== "timedOut");
}

/** An earlier plan broke it, or left it on its way for too long: it spends the budget until it is mended. */
export function isStuck({ standing }: Judged, now: number): boolean {
  return standing.is === "failed" || (standing.is === "changing" && now >= standing.deadlineMs);
}

/** The most that giving the node a plan now can disturb. */
export function effectiveImpact({ impact, drift, desired }: FleetNode, { revision }: RolloutInput): ImpactName {
  if (drift === undefined) return impact;
  const isDriftOnly = desired?.revision === revision && !desired.isRejoinDue;
  return isDriftOnly || IMPACTS.indexOf(drift.impact) > IMPACTS.indexOf(impact) ? drift.impact : impact;
}

export function needsDrain(node: FleetNode, input: RolloutInput): boolean {
  const { from } = input.strategy.drain;
  return from !== "never" && node.isDrainable && IMPACTS.indexOf(effectiveImpact(node, input)) >= IMPACTS.indexOf(from);
}

function holding(reason: WaitReason, message: string): Block {
  return { reason, message, isLettingGo: false };
}

function lettingGo(reason: WaitReason, message: string): Block {
  return { reason, message, isLettingGo: true };
}
