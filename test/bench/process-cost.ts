/** What a process costs, read from /proc. */
import { readdirSync, readFileSync } from "node:fs";

export interface Memory {
  /** Every page that is mapped and in memory, those of the executable's file included. */
  readonly residentBytes: number;
  /** Private_Dirty of smaps_rollup: written by this process, so no other could share it and only swap could take it. */
  readonly privateBytes: number;
  /** Private_Clean: of files, and mapped here only; a second process of the same executable makes these pages shared. */
  readonly privateCleanBytes: number;
}

export function memoryOf(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const bytes = (key: string): number => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? "0");
  return { residentBytes: bytes("Rss"), privateBytes: bytes("Private_Dirty"), privateCleanBytes: bytes("Private_Clean") };
}

/** Milliseconds on a CPU: of all its threads (nanosecond clock), and of its children that have ended (10 ms clock). */
export function cpuOf(pid: number): { readonly ownMs: number; readonly childrenMs: number } {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // The thread ended while we looked.
    }
  }
  const fields = statFields(pid);
  return { ownMs: ns / 1e6, childrenMs: 10 * (Number(fields[13]) + Number(fields[14])) };
}

/** Unix milliseconds at which it was started, to 10 ms. */
export function startedAtMs(pid: number): number {
  const bootMs = 1000 * Number(/^btime (\d+)/m.exec(readFileSync("/proc/stat", "utf8"))?.[1] ?? "0");
  // btime has whole seconds; the finer value is now minus uptime.
  const preciseBootMs = Date.now() - 1000 * Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  return (Math.abs(preciseBootMs - bootMs) < 2000 ? preciseBootMs : bootMs) + 10 * Number(statFields(pid)[19]);
}

/** Fields of /proc/PID/stat after the command's name: [0] is the state. */
function statFields(pid: number): readonly string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
