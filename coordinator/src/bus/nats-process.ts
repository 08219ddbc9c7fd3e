/** Which nats-server process is ours: recognised by pid, start time and boot, so that a pid used again is never taken for it. */
import { readdirSync, readFileSync } from "node:fs";
import { type Clock, sleep } from "@drover/lifecycle";
import { z } from "zod";
import { readIfThere, writeDurably } from "./durable-file.ts";

const processRecord = z.object({
  pid: z.number(),
  /** Clock ticks since boot, field 22 of /proc/PID/stat. */
  startTicks: z.string(),
  bootId: z.string(),
  /** What the server was started with, but for its JWTs. */
  fingerprint: z.string(),
});
export type ProcessRecord = z.infer<typeof processRecord>;

/** @returns undefined when the process has ended already */
export function recordOf(pid: number, fingerprint: string): ProcessRecord | undefined {
  const startTicks = startTicksOf(pid);
  return startTicks === undefined ? undefined : { pid, startTicks, bootId: bootId(), fingerprint };
}

export function isAlive(record: ProcessRecord): boolean {
  return record.bootId === bootId() && startTicksOf(record.pid) === record.startTicks;
}

export function readRecord(path: string): ProcessRecord | undefined {
  const bytes = readIfThere(path);
  if (bytes === undefined) return undefined;
  try {
    return processRecord.parse(JSON.parse(bytes.toString()));
  } catch {
    return undefined;
  }
}

export function writeRecord(path: string, record: ProcessRecord): void {
  writeDurably(path, JSON.stringify(record));
}

/** The process that was started with exactly this configuration file: for when its record is gone. */
export function findByConfig(configPath: string): ProcessRecord | undefined {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    let argv: string[];
    try {
      argv = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
    } catch {
      continue;
    }
    if (argv[0]?.endsWith("nats-server") && argv[1] === "--config" && argv[2] === configPath) return recordOf(Number(name), "");
  }
  return undefined;
}

/** TERM, and KILL when it has not ended after graceMs. Resolves when it has ended. */
export async function terminate(record: ProcessRecord, graceMs: number, clock: Clock): Promise<void> {
  const killAtMs = clock.monotonicMs() + graceMs;
  const giveUpAtMs = killAtMs + 5_000;
  send(record, "SIGTERM");
  while (isAlive(record)) {
    if (clock.monotonicMs() >= killAtMs) send(record, "SIGKILL");
    if (clock.monotonicMs() >= giveUpAtMs) throw new Error(`nats-server (pid ${record.pid}) does not end, not even by SIGKILL`);
    await sleep(clock, 20);
  }
}

function send(record: ProcessRecord, signal: NodeJS.Signals): void {
  try {
    if (isAlive(record)) process.kill(record.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** undefined: no such process, or it is a zombie that nobody has reaped. */
function startTicksOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything; what follows its last one is in fixed order, from field 3 on.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
