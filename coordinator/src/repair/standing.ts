/** How a Repair stands, read from its own object alone. Pure. */
import type { Repair } from "@drover/api";

export type RepairStatus = NonNullable<Repair["status"]>;
export type Attempt = RepairStatus["attempts"][number];

const ENDED: ReadonlySet<string> = new Set(["Succeeded", "HandedOver", "Failed", "Cancelled"]);

export function hasEnded({ status }: Repair): boolean {
  return status !== undefined && ENDED.has(status.phase);
}

/** Whether it has its node's place in the budgets. Calling a person changes nothing on the node, and takes none. */
export function isInFlight(repair: Repair): boolean {
  return !hasEnded(repair) && (repair.status?.attempts.length ?? 0) > 0 && needsPlace(repair);
}

export function needsPlace({ spec }: Repair): boolean {
  return spec.rungs.some((rung) => rung !== "HandOver");
}

export function lastAttempt({ status }: Repair): Attempt | undefined {
  return status?.attempts.at(-1);
}

/** Of the attempt that runs: what a node answers once, whoever asks again; and the id of its evidence. */
export function requestIdOf({ metadata, status }: Repair): string {
  return `${metadata.uid ?? metadata.name}-${status?.attempts.length ?? 0}`;
}

export function millis(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time);
}

/** In order of their asking; of one moment by name. */
export function byAge(a: Repair, b: Repair): number {
  const [first, second] = [a.metadata.creationTimestamp ?? "", b.metadata.creationTimestamp ?? ""];
  return compare(first, second) || compare(a.metadata.name, b.metadata.name);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
