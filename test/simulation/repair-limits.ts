/**
 * What binds repairs, whatever crashes: each judged when it takes its node's place, from what was committed and what the coordinator knew for a while.
 * Nobody asked for those of the coordinator itself, and more binds them.
 */
import type { Repair } from "@drover/api";
import { hasEnded, isInFlight, millis } from "../../coordinator/src/repair/standing.ts";
import type { Checker } from "./invariants.ts";

export interface RepairSurroundings {
  readonly fleetSize: number;
  readonly zoneOf: (node: string) => string | undefined;
  readonly nowMs: () => number;
  /** Verdicts that have stood for a while: the coordinator had the time to see them. */
  readonly settledVerdict: (node: string) => "healthy" | "unhealthy" | "unknown" | undefined;
  readonly settledUnhealthy: () => number;
}

const UNASKED = "coordinator";
const HOUR_MS = 3_600_000;

/** At most half of the fleet at once; unasked besides: one in a zone, a tenth of the fleet, not in a mass failure, and no node twice in an hour. */
export function repairLimits(around: RepairSurroundings): Checker {
  const known = new Map<string, Repair>();
  const inFlight = (): Repair[] => [...known.values()].filter(isInFlight);
  return {
    name: "repairs",
    see(observation) {
      if (observation.type !== "repair") return undefined;
      const { name, node, repair } = observation;
      const before = known.get(name);
      const others = inFlight().filter(({ metadata }) => metadata.name !== name);
      const earlier = [...known.values()].filter(({ metadata, spec }) => metadata.name !== name && spec.node === node);
      known.set(name, repair);
      if (before !== undefined && hasEnded(before)) return endedAnew(before, repair);
      const hasBegun = isInFlight(repair) && !(before !== undefined && isInFlight(before));
      if (!hasBegun) return undefined;
      return (
        whyNotAtAll(repair, others, around) ??
        (repair.spec.requestedBy === UNASKED ? whyNotUnasked(repair, others, earlier, around) : undefined)
      );
    },
  };
}

function endedAnew(before: Repair, repair: Repair): string | undefined {
  if (before.status?.phase === repair.status?.phase) return undefined;
  return `${repair.metadata.name} had ended ${before.status?.phase}, and became ${repair.status?.phase}`;
}

function whyNotAtAll({ metadata, spec }: Repair, others: readonly Repair[], around: RepairSurroundings): string | undefined {
  const cap = Math.max(1, Math.floor(around.fleetSize / 2));
  if (others.length >= cap) return `${metadata.name} began beside ${others.length} others, ${cap} are allowed in the fleet`;
  if (others.some((other) => other.spec.node === spec.node)) return `${metadata.name} began while its node was under repair already`;
  return around.settledVerdict(spec.node) === "unknown" ? `${metadata.name} began though the health of ${spec.node} is unknown` : undefined;
}

function whyNotUnasked(
  { metadata, spec }: Repair,
  others: readonly Repair[],
  earlier: readonly Repair[],
  { fleetSize, zoneOf, nowMs, settledVerdict, settledUnhealthy }: RepairSurroundings,
): string | undefined {
  const began = `${metadata.name} began unasked`;
  const neighbour = others.find((other) => zoneOf(other.spec.node) === zoneOf(spec.node));
  if (neighbour !== undefined) return `${began} beside ${neighbour.metadata.name} in ${zoneOf(spec.node)}`;
  const limit = Math.max(1, Math.floor(fleetSize / 10));
  if (others.length >= limit) return `${began} beside ${others.length} others, ${limit} are allowed in the set`;
  if (settledVerdict(spec.node) === "healthy") return `${began} on ${spec.node}, which is healthy`;
  const unhealthy = settledUnhealthy();
  if (unhealthy >= 2 && unhealthy >= fleetSize * 0.3) return `${began} with ${unhealthy} of ${fleetSize} unhealthy`;
  const recent = earlier.find(({ status }) => {
    const finishedMs = millis(status?.finishedAt);
    return (status?.attempts.length ?? 0) > 0 && finishedMs !== undefined && nowMs() - finishedMs < HOUR_MS;
  });
  return recent && `${began} though ${recent.metadata.name} of the same node ended less than an hour ago`;
}
