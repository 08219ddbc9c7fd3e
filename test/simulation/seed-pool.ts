/** Hands seeds to processes, as many as there are cores. One that a seed ends, or that does not answer in time, is replaced: the seed has failed. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { commandOf } from "./scenario.ts";
import type { SimulationStats } from "./simulation.ts";

export interface SeedCase {
  readonly seed: number;
  readonly agents: number;
  /** By name. */
  readonly scenario: string;
}

export interface SeedEnd {
  /** Left out: it did not come to an end. */
  readonly stats?: SimulationStats;
  readonly cpuSeconds?: number;
  /** Equal for equal cases at one commit. */
  readonly transcriptDigest?: string;
  /** What broke, and how to run it again; left out: nothing. */
  readonly failure?: string;
}

const WORKER = fileURLToPath(new URL("seed-worker.ts", import.meta.url));
const DEADLINE_MS = 600_000;
/** Much is made that lives for a moment only: with the room there is by default a tenth of the time goes into collecting it. */
const OPTIONS = { execArgv: ["--max-semi-space-size=32"] };

/** @param ended told of each case, in the order in which they end */
export async function runSeeds(cases: Iterable<SeedCase>, ended: (seedCase: SeedCase, end: SeedEnd) => void): Promise<void> {
  const rest = [...cases].values();
  await Promise.all(
    Array.from({ length: availableParallelism() }, () =>
      runInTurn(rest, (seedCase, end) => {
        ended(seedCase, end);
        return true;
      }),
    ),
  );
}

/** In one process. @param goesOn told of each case; false: that is enough. @param worker of another tree of sources */
export async function runInTurn(
  cases: Iterable<SeedCase>,
  goesOn: (seedCase: SeedCase, end: SeedEnd) => boolean,
  worker: string = WORKER,
): Promise<void> {
  let held: ChildProcess | undefined;
  try {
    for (const seedCase of cases) {
      held ??= fork(worker, OPTIONS);
      const end = await runOne(held, seedCase);
      if (!goesOn(seedCase, end)) return;
      if (end.stats !== undefined) continue;
      held.kill("SIGKILL");
      held = undefined;
    }
  } finally {
    held?.kill("SIGKILL");
  }
}

async function runOne(worker: ChildProcess, seedCase: SeedCase): Promise<SeedEnd> {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const died = once(worker, "exit", { signal }).then(([code, by]) => `its process ended with ${String(by ?? code)}`);
  worker.send(seedCase);
  try {
    const end = await Promise.race([once(worker, "message", { signal }), died]);
    return typeof end === "string" ? failed(seedCase, end) : (end[0] as SeedEnd);
  } catch {
    return failed(seedCase, `did not end within ${DEADLINE_MS / 1000} s`);
  } finally {
    died.catch(() => undefined);
    over.abort();
  }
}

function failed(seedCase: SeedCase, what: string): SeedEnd {
  return { failure: `seed ${seedCase.seed}: ${what}; again: ${commandOf(seedCase)}` };
}
