/**
 * Programs without a shell: absolute path, clean environment, own process group. At the deadline the whole group gets TERM,
 * then KILL; whatever the group leaves behind when its leader ends is killed too.
 */
import { access, constants, stat } from "node:fs/promises";
import { posix } from "node:path";
import type { Clock } from "@drover/lifecycle";
import type { Command, CommandResult, Commands } from "./host.ts";
import { redact } from "./redact.ts";

const OUTPUT_BYTES = 2 ** 20;
const KILL_AFTER_MS = 2_000;
const DRAIN_MS = 1_000;
const CLEAN_ENVIRONMENT = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", LC_ALL: "C.UTF-8" };

export class ExecCommands implements Commands {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async run({ program, args, timeoutMs, input }: Command, signal: AbortSignal): Promise<CommandResult> {
    if (!posix.isAbsolute(program)) throw new RangeError(`${JSON.stringify(program)} is no absolute path of a program`);
    if ([program, ...args].some((word) => word.includes("\0"))) throw new RangeError("a NUL in an argument");
    signal.throwIfAborted();
    // Loaded at first use: an idle agent runs nothing.
    const { execa } = await import("execa");
    const child = execa(program, args, {
      detached: true,
      cleanup: true,
      extendEnv: false,
      env: CLEAN_ENVIRONMENT,
      cwd: "/",
      reject: false,
      buffer: false,
      shell: false,
      stdin: input === undefined ? "ignore" : "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    const stdout = new Capped();
    const stderr = new Capped();
    child.stdout.on("data", (chunk: Buffer) => stdout.take(chunk));
    child.stderr.on("data", (chunk: Buffer) => stderr.take(chunk));
    if (input !== undefined) {
      // A program that ends without reading is no failure of ours.
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(input);
    }
    let timedOut = false;
    let cancelKill = (): void => undefined;
    const stop = (): void => {
      killGroup(child.pid, "SIGTERM");
      // Told twice, the first timer would fire when the number may be another program's.
      cancelKill();
      cancelKill = this.#clock.setTimer(KILL_AFTER_MS, () => killGroup(child.pid, "SIGKILL"));
    };
    const cancelDeadline = this.#clock.setTimer(timeoutMs, () => {
      timedOut = true;
      stop();
    });
    signal.addEventListener("abort", stop, { once: true });
    const exited = new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
    });
    try {
      await exited;
      killGroup(child.pid, "SIGKILL");
      // Something that left the group may hold the pipes open for ever.
      const cancelDrain = this.#clock.setTimer(DRAIN_MS, () => {
        child.stdout.destroy();
        child.stderr.destroy();
      });
      const result = await child;
      cancelDrain();
      signal.throwIfAborted();
      const { code } = result as { code?: string };
      if (result.exitCode === undefined && result.signal === undefined && code !== undefined) {
        throw Object.assign(new Error(`${program} could not be started: ${code}`), { code });
      }
      return { exitCode: result.exitCode, signal: result.signal, timedOut, stdout: stdout.text(), stderr: stderr.text() };
    } finally {
      cancelDeadline();
      cancelKill();
      signal.removeEventListener("abort", stop);
    }
  }

  async find(paths: readonly string[]): Promise<string | undefined> {
    for (const path of paths) {
      try {
        await access(path, constants.X_OK);
        if ((await stat(path)).isFile()) return path;
      } catch {
        // Not this one.
      }
    }
    return undefined;
  }
}

/** The first bytes of a stream; the rest is read and forgotten, so that the program does not block. */
class Capped {
  readonly #chunks: Buffer[] = [];
  #missing = OUTPUT_BYTES;

  take(chunk: Buffer): void {
    if (this.#missing <= 0) return;
    const kept = chunk.subarray(0, this.#missing);
    this.#missing -= kept.length;
    this.#chunks.push(kept);
  }

  text(): string {
    return redact(Buffer.concat(this.#chunks).toString());
  }
}

function killGroup(pid: number | undefined, signal: "SIGTERM" | "SIGKILL"): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in it.
  }
}
