/** Where an agent is killed: by a failpoint of its core or at a system call. Which ones there are comes from a recorded run. Pure. */
import type { Random } from "@drover/lifecycle";

export type KillPoint =
  /** At the k-th passing of a named place, counted from the start of the process. */
  | { readonly how: "failpoint"; readonly name: string; readonly k: number }
  /** When any one thread enters that system call for the k-th time, counted from just before the plan comes. */
  | { readonly how: "syscall"; readonly name: string; readonly k: number };

/** Name to how often it occurred; of system calls: in the thread that made the most of them. */
export type Counts = Readonly<Record<string, number>>;

export interface RecordedRun {
  readonly failpoints: Counts;
  readonly syscalls: Counts;
}

/** Those that make something durable or visible, and those that talk to containerd and the coordinator. */
export const killingSyscalls = [
  "fsync",
  "fdatasync",
  "rename",
  "renameat",
  "renameat2",
  "unlink",
  "unlinkat",
  "mkdir",
  "ftruncate",
  "fchmod",
  "openat",
  "close",
  "read",
  "write",
  "pwrite64",
  "writev",
  "sendmsg",
  "socket",
  "connect",
  "clone",
  "wait4",
];

export function formatPoint({ how, name, k }: KillPoint): string {
  return `${how}:${name}:${k}`;
}

/** @throws RangeError when it is not as formatPoint gives it */
export function parsePoint(text: string): KillPoint {
  const [, how, name = "", k] = /^(failpoint|syscall):([a-z0-9_.]+):([1-9]\d*)$/.exec(text) ?? [];
  if (how !== "failpoint" && how !== "syscall") throw new RangeError(`${JSON.stringify(text)} is no kill point: want "syscall:fsync:3"`);
  return { how, name, k: Number(k) };
}

/** Every recorded failpoint in a shuffled order, again and again; between them system calls, each name as often as every other. */
export function* killPoints(recorded: RecordedRun, random: Random): Generator<KillPoint, never> {
  const failpoints = rounds(
    sorted(recorded.failpoints).flatMap(([name, count]) =>
      Array.from({ length: count }, (_, index): KillPoint => ({ how: "failpoint", name, k: index + 1 })),
    ),
    random,
  );
  const names = rounds(
    sorted(recorded.syscalls).map(([name]) => name),
    random,
  );
  for (;;) {
    if (random.unit() < 0.5) {
      yield failpoints.next().value;
    } else {
      const name = names.next().value;
      yield { how: "syscall", name, k: 1 + Math.floor(random.unit() * recorded.syscalls[name]!) };
    }
  }
}

/** By name: the order in which a run came to them must not matter to a seed. */
function sorted(counts: Counts): [string, number][] {
  return Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1));
}

function* rounds<T>(all: readonly T[], random: Random): Generator<T, never> {
  for (;;) {
    const left = [...all];
    while (left.length > 0) yield left.splice(Math.floor(random.unit() * left.length), 1)[0]!;
    if (all.length === 0) throw new Error("nothing was recorded");
  }
}

/** @param trace what `strace -f -o` wrote: "TID call(..." */
export function countSyscalls(trace: string): Counts {
  const perThread = new Map<string, Map<string, number>>();
  for (const [, thread = "", call = ""] of trace.matchAll(/^(\d+) +([a-z][a-z0-9_]*)\(/gm)) {
    const counts = perThread.get(thread) ?? new Map<string, number>();
    perThread.set(thread, counts.set(call, (counts.get(call) ?? 0) + 1));
  }
  const most: Record<string, number> = {};
  for (const counts of perThread.values()) for (const [call, count] of counts) most[call] = Math.max(most[call] ?? 0, count);
  return most;
}

/** @param log of an agent with DROVER_FAILPOINT=record */
export function countFailpoints(log: string): Counts {
  const counts: Record<string, number> = {};
  for (const [, name = ""] of log.matchAll(/"failpoint":"([a-z.]+)"/g)) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
