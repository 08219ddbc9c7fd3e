/** What is done to coordinator and NATS, and how their state looks from outside. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Random } from "@drover/lifecycle";
import { dataFiles } from "../../coordinator/src/data-files.ts";
import { nodeProgram, type Site } from "../testbed/site.ts";

export type Fault =
  | "coordinator killed"
  | "NATS killed"
  | "both killed"
  | "NATS killed, its data deleted"
  | "both killed, NATS data deleted"
  | "coordinator killed, report log deleted"
  | "both killed, NATS data and report log deleted";

export const faults: readonly Fault[] = [
  "coordinator killed",
  "NATS killed",
  "both killed",
  "NATS killed, its data deleted",
  "both killed, NATS data deleted",
  "coordinator killed, report log deleted",
  "both killed, NATS data and report log deleted",
];

export const losesReportLog = (fault: Fault): boolean => fault.endsWith("report log deleted");

/**
 * The fault and, where the coordinator fell, its next start.
 * @param whileDown called when all that is to be killed is dead, before anything is deleted
 */
export async function inject(site: Site, fault: Fault, random: Random, whileDown: () => Promise<void>): Promise<void> {
  const files = dataFiles(site.dataDirectory);
  const isCoordinatorHit = !fault.startsWith("NATS");
  if (isCoordinatorHit) {
    site.coordinator.signal("SIGKILL");
    await site.coordinator.ended;
  }
  if (!fault.startsWith("coordinator")) await killNats(site);
  await whileDown();
  if (/data (and report log )?deleted/.test(fault)) await rm(files.nats, { recursive: true, force: true, maxRetries: 20, retryDelay: 20 });
  if (losesReportLog(fault)) for (const tail of ["", "-wal", "-shm"]) await rm(`${files.reportLog}${tail}`, { force: true });
  if (!isCoordinatorHit) return;
  await pause(random.unit() * 1500);
  await site.startCoordinator();
}

async function killNats(site: Site): Promise<void> {
  const { pid } = JSON.parse(await readFile(join(dataFiles(site.dataDirectory).nats, "nats.pid.json"), "utf8")) as { pid: number };
  const killed = await site.bed.run("kill", ["-KILL", String(pid)]);
  if (killed.exitCode !== 0) throw new Error(`nats-server could not be killed: ${killed.stderr}`);
}

/** Client name to connection id and start, of every node that is connected; the coordinator's own are left out. */
export async function nodeConnections(site: Site, nodeIds: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
  const listen = await readFile(join(dataFiles(site.dataDirectory).natsTrust, "nats-listen.json"), "utf8");
  const { monitorPort } = JSON.parse(listen) as { monitorPort: number };
  const script = `fetch('http://127.0.0.1:${monitorPort}/connz?limit=1000').then((r) => r.text()).then((t) => process.stdout.write(t))`;
  const answer = await site.bed.run(nodeProgram, ["-e", script]);
  const { connections } = JSON.parse(answer.stdout) as { connections: { cid: number; start: string; name?: string }[] };
  return new Map(
    connections.filter(({ name }) => name !== undefined && nodeIds.has(name)).map(({ cid, start, name }) => [name!, `${cid} of ${start}`]),
  );
}

/** The moment of a fault is random in time; there is no event to wait for. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
