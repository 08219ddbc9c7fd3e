/**
 * When a node may be called healthy or unhealthy; pure. Four conditions must hold together before silence is death:
 * the observer is well, the silence is real, the cell is calm, and a second path agreed. What is not known is said to be unknown.
 */
import type { Health } from "./fleet.ts";

/** How well the coordinator itself can see; from its sentinel, its timers and its round trips. */
export interface ObserverState {
  readonly graceMs: number;
  /** The interval nodes beat at. */
  readonly intervalMs: number;
  readonly loopLagMs: number;
  /** Age of the oldest sentinel that has not come back; 0: none is out. */
  readonly consumerLagMs: number;
  readonly isRoundTripFine: boolean;
  /** Monotonic time since the last lapse, or since the start. */
  readonly steadyMs: number;
}

export interface NodeSigns {
  /** Monotonic time since its last beat was folded; undefined: none ever was. */
  readonly beatAgeMs: number | undefined;
  /** Broker's stamp of the newest message seen minus the node's last stamp. */
  readonly brokerSilenceMs: number;
  /** Monotonic time awake and caught up since its last beat was folded. */
  readonly ownSilenceMs: number;
  /** What the node itself reports as broken, CamelCase; empty: nothing. */
  readonly failure: string;
  /** Disrupted: one of its zone, rack, NATS server or shard is, see cells.ts. */
  readonly cell: "calm" | "disrupted";
  /** "none": the node has no second path; "pending": asked, not asked yet, or asked without an answer that proves anything. */
  readonly secondPath: "none" | "pending" | "alive" | "agreed";
}

const MAX_LOOP_LAG_MS = 1_000;

/** Condition (a). */
export function isObserverWell(observer: ObserverState): boolean {
  return observerDoubt(observer) === undefined;
}

/** Why the coordinator does not trust its own eyes, in words; undefined: it does. */
export function observerDoubt(observer: ObserverState): string | undefined {
  const { loopLagMs, consumerLagMs, intervalMs, isRoundTripFine, steadyMs, graceMs } = observer;
  if (!(loopLagMs < MAX_LOOP_LAG_MS)) return `its own loop is ${Math.round(loopLagMs)} ms late`;
  if (!(consumerLagMs < intervalMs)) return `its own beat has not come back for ${Math.round(consumerLagMs)} ms`;
  if (!isRoundTripFine) return "NATS does not answer as it should";
  if (!(steadyMs >= graceMs)) return `it has seen well for ${Math.round(steadyMs)} ms only, and trusts itself after ${graceMs} ms`;
  return undefined;
}

/**
 * What a node says of itself needs only (a). For silence all four must hold: (a), the silence of both views above the grace (b), calm cells (c), and
 * a second path that agreed (d).
 */
export function verdict(observer: ObserverState, node: NodeSigns): Health {
  const isWell = isObserverWell(observer);
  if (node.failure !== "" && isWell) return { verdict: "unhealthy", reason: node.failure };
  if (node.beatAgeMs === undefined) return { verdict: "unknown", reason: "NeverSeen" };
  const isFresh = node.beatAgeMs <= observer.graceMs && node.brokerSilenceMs <= observer.graceMs;
  if (isFresh) return node.failure === "" ? { verdict: "healthy", reason: "Beating" } : { verdict: "unknown", reason: "ObserverUnwell" };
  if (!isWell) return { verdict: "unknown", reason: "ObserverUnwell" };
  // (b)
  if (Math.min(node.brokerSilenceMs, node.ownSilenceMs) <= observer.graceMs) return { verdict: "unknown", reason: "Silent" };
  // (c)
  if (node.cell === "disrupted") return { verdict: "unknown", reason: "CellDisrupted" };
  // (d)
  if (node.secondPath !== "agreed") return { verdict: "unknown", reason: node.secondPath === "alive" ? "SilentButAlive" : "Silent" };
  return { verdict: "unhealthy", reason: "Silent" };
}

/** How often nodes beat when there are few, and how often all together when there are many. */
export interface HeartbeatPace {
  readonly shortestIntervalMs: number;
  readonly perSecond: number;
}

export const defaultPace: HeartbeatPace = { shortestIntervalMs: 10_000, perSecond: 1_000 };
const MIN_GRACE_MS = 30_000;

/** How often a node is to beat: the whole fleet together at most pace.perSecond times a second. */
export function heartbeatIntervalMs(nodes: number, { shortestIntervalMs, perSecond } = defaultPace): number {
  return Math.max(shortestIntervalMs, Math.ceil((nodes * 1_000) / perSecond));
}

export function graceMs(intervalMs: number): number {
  return Math.max(MIN_GRACE_MS, 3 * intervalMs);
}
