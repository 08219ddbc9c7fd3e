/** `drover status`: how well the coordinator sees the fleet, and what waits for a person. */
import type { DroverObject, Kind } from "@drover/api";
import type { GetCoordinatorStatusResponse } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { count } from "../confirmation.ts";
import { shortList } from "../output/rollout-lines.ts";
import { decodeObject, type Session } from "../session.ts";

export async function fleetStatus(session: Session): Promise<void> {
  const connection = session.connect();
  const answer = await connection.call("getCoordinatorStatus", {});
  const all = async (kind: Kind): Promise<readonly DroverObject[]> =>
    (await connection.call("listObjects", { kind, labelSelector: "" })).objects.map(decodeObject);
  const objects = [...(await all("Node")), ...(await all("Rollout")), ...(await all("Repair"))];
  session.print([...observerLines(answer, connection.endpoint), ...fleetLines(objects)].join("\n"));
  if (answer.unhealthyReason !== "") {
    throw new CliError(
      exitCodes.degraded,
      `the coordinator does not see well, and holds nobody for dead meanwhile: ${answer.unhealthyReason}`,
      "on its machine: drover-coordinator doctor",
    );
  }
}

export function observerLines(status: GetCoordinatorStatusResponse, endpoint: string): string[] {
  const seconds = (ms: number): string =>
    ms >= 120_000 ? `${Math.round(ms / 60_000)} min` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const roundTrip = status.roundTripMs === undefined ? "failed" : `${status.roundTripMs.toFixed(1)} ms`;
  return [
    `Coordinator: ${endpoint}, ${status.coordinatorVersion}`,
    `Sees:        ${status.unhealthyReason === "" ? `well, for ${seconds(status.steadyMs)}` : `not well: ${status.unhealthyReason}`}; doubted itself ${status.lapses} times`,
    `Lags:        loop ${status.loopLagMs.toFixed(0)} ms, own beats ${status.consumerLagMs.toFixed(0)} ms, NATS round trip ${roundTrip}`,
    `Nodes beat:  every ${seconds(status.heartbeatIntervalMs)}; silence of ${seconds(status.graceMs)} ends in a verdict; ${status.suspects} silent for half of it`,
    ...(status.disruptedCells.length === 0
      ? []
      : [`Disrupted:   ${shortList(status.disruptedCells)}: many fell silent together, nobody is moved there`]),
  ];
}

const REPAIRS_AT_WORK = new Set(["Pending", "Running", "Checking"]);

export function fleetLines(objects: readonly DroverObject[]): string[] {
  const tally = new Map<string, number>();
  const lines: string[] = [];
  let nodes = 0;
  for (const object of objects) {
    if (object.kind === "Node" && object.status?.phase !== "Revoked") {
      nodes += 1;
      const health = object.status?.health ?? "unknown";
      tally.set(health, (tally.get(health) ?? 0) + 1);
    }
    if (object.kind === "Rollout" && object.status !== undefined && !["Complete", "Superseded", "Aborted"].includes(object.status.phase)) {
      lines.push(`Rollout:     ${object.metadata.name} ${object.status.phase}, ${object.status.updated} of ${object.status.total} updated`);
    }
    if (object.kind === "Repair" && (REPAIRS_AT_WORK.has(object.status?.phase ?? "Pending") || object.status?.phase === "HandedOver")) {
      lines.push(`Repair:      ${object.metadata.name} of ${object.spec.nodeName} ${object.status?.phase ?? "Pending"}`);
    }
  }
  const healths = [...tally].sort(([a], [b]) => (a < b ? -1 : 1)).map(([health, some]) => `${some} ${health}`);
  return [`Nodes:       ${count(nodes)}${healths.length === 0 ? "" : `: ${healths.join(", ")}`}`, ...lines];
}
