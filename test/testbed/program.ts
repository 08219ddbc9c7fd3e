/** Programs that a test starts and must end: found by pid, awaited by what they do, never by time. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

export interface SpawnedProgram {
  /** As the host numbers it. */
  readonly pid: number;
  /** Resolves with the exit code (or the signal's name) when it has ended. */
  readonly ended: Promise<number | string>;
  readonly logFile: string;
  log(): Promise<string>;
  /** To the program itself, not to what it was started through. */
  signal(name: NodeJS.Signals): void;
  /** TERM, then KILL after graceMs; resolves when it is gone. */
  stop(graceMs?: number): Promise<void>;
}

export interface SpawnOptions {
  readonly logFile: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** How many processes stand between ours and the program (1 for nsenter with --fork). */
  readonly wrappers?: number;
}

/** Starts a program with its output in a file. It gets SIGKILL when this process dies. */
export async function spawnProgram(program: string, args: readonly string[], options: SpawnOptions): Promise<SpawnedProgram> {
  const log = openSync(options.logFile, "a");
  const child = spawn(program, args, {
    stdio: ["ignore", log, log],
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  closeSync(log);
  const ended = new Promise<number | string>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? signal ?? -1));
  });
  ended.catch(() => {});
  const pid = await innerPid(child, options.wrappers ?? 0);
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(pid, name);
    } catch {
      // It is gone already.
    }
  };
  return {
    pid,
    ended,
    logFile: options.logFile,
    log: () => readFile(options.logFile, "utf8"),
    signal,
    async stop(graceMs = 10_000) {
      signal("SIGTERM");
      const killer = setTimeout(() => {
        signal("SIGKILL");
        child.kill("SIGKILL");
      }, graceMs);
      await ended;
      clearTimeout(killer);
    },
  };
}

/** The pid of the process that `wrappers` levels of single children below ours. */
async function innerPid(child: ChildProcess, wrappers: number): Promise<number> {
  if (child.pid === undefined) throw new Error(`${child.spawnfile} could not be started`);
  let pid = child.pid;
  for (let level = 0; level < wrappers; level += 1) {
    const parent = pid;
    pid = await eventually(`the child of process ${parent}`, 10_000, () => {
      if (child.exitCode !== null) throw new Error(`${child.spawnargs.join(" ")} ended with ${child.exitCode}`);
      const first = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ")[0];
      return first === undefined || first === "" ? undefined : Number(first);
    });
  }
  return pid;
}

/**
 * Asks until the answer is neither undefined nor false.
 * @param what for the error: "agent-1 in sync"
 * @throws after timeoutMs, with the last error if there was one
 */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let pauseMs = 5;
  let lastError: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: lastError });
    await new Promise((resolve) => {
      setTimeout(resolve, pauseMs);
    });
    pauseMs = Math.min(200, pauseMs * 1.5);
  }
}
