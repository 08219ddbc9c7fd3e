/** Programs in a virtual machine over its shell channel, with deadlines and the shapes of the machine's interface. */
import { closeSync, openSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { constants } from "node:os";
import type { SpawnedProgram } from "../program.ts";
import type { ShellChannel } from "./shell-channel.ts";

export interface RunOptions {
  /** Default 60 s. */
  readonly timeoutMs?: number;
  readonly input?: string | Uint8Array;
}

/** @throws when the machine goes down, or when the deadline passes: the program is killed then with its process group */
export async function runOverShell(shell: ShellChannel, machine: string, argv: readonly string[], options: RunOptions) {
  const output: Buffer[] = [];
  const errors: Buffer[] = [];
  const session = shell.open(argv, (bytes, isError) => (isError ? errors : output).push(bytes));
  if (options.input !== undefined) session.write(Buffer.from(options.input));
  session.endInput();
  const timeoutMs = options.timeoutMs ?? 60_000;
  try {
    const how = await before(timeoutMs, `${argv.join(" ")} on ${machine} took longer than ${timeoutMs} ms`, session.ended);
    return { exitCode: typeof how === "number" ? how : -1, stdout: Buffer.concat(output), stderr: Buffer.concat(errors) };
  } catch (error) {
    session.kill();
    throw error;
  }
}

/** The pid is the one inside: the host has none for it. */
export async function spawnOverShell(shell: ShellChannel, argv: readonly string[], logFile: string): Promise<SpawnedProgram> {
  const log = openSync(logFile, "a");
  const session = shell.open(argv, (bytes) => writeSync(log, bytes));
  session.endInput();
  const ended = session.ended
    .catch(() => "SIGKILL")
    .finally(() => {
      closeSync(log);
    });
  const pid = await session.pid;
  const signal = (name: NodeJS.Signals): void => session.signal(constants.signals[name]);
  return {
    pid,
    ended,
    logFile,
    log: () => readFile(logFile, "utf8"),
    signal,
    async stop(graceMs = 10_000) {
      signal("SIGTERM");
      const killer = setTimeout(session.kill, graceMs);
      await ended;
      clearTimeout(killer);
    },
  };
}

/** @throws with that message when it takes longer */
export async function before<T>(timeoutMs: number, otherwise: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(otherwise)), Math.max(0, timeoutMs));
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
