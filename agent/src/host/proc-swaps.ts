/** Swap through /proc/swaps, /proc/meminfo, swapoff and swapon. */
import { readFile } from "node:fs/promises";
import type { Commands } from "./host.ts";
import { type ActiveSwap, SwapFailed, type Swaps } from "./swap-port.ts";

/** Whatever is swapped out is read back first: from a slow disk this takes minutes. */
const OFF_TIMEOUT_MS = 30 * 60_000;
const ON_TIMEOUT_MS = 60_000;

export class ProcSwaps implements Swaps {
  readonly #commands: Commands;
  readonly #proc: string;

  /** @param proc another place than /proc, for tests */
  constructor(commands: Commands, proc = "/proc") {
    this.#commands = commands;
    this.#proc = proc;
  }

  async list(): Promise<readonly ActiveSwap[]> {
    const [, ...lines] = (await this.#text("swaps")).split("\n");
    return lines.flatMap((line) => {
      const [path, kind, size, used, priority] = line.split(/\s+/);
      if (path === undefined || kind === undefined || !path.startsWith("/")) return [];
      const [sizeBytes, usedBytes] = [Number(size) * 1024, Number(used) * 1024];
      return [{ path: unescaped(path), kind, sizeBytes, usedBytes, priority: Number(priority) }];
    });
  }

  async availableBytes(): Promise<number> {
    return Number(/^MemAvailable:\s*(\d+) kB$/m.exec(await this.#text("meminfo"))?.[1] ?? 0) * 1024;
  }

  async off(path: string, signal: AbortSignal): Promise<void> {
    if (await this.#isActive(path)) await this.#must("swapoff", [absolute(path)], OFF_TIMEOUT_MS, signal);
  }

  async on(path: string, priority: number | undefined, signal: AbortSignal): Promise<void> {
    if (await this.#isActive(path)) return;
    const options = priority === undefined ? [] : ["--priority", String(priority)];
    await this.#must("swapon", [...options, absolute(path)], ON_TIMEOUT_MS, signal);
  }

  async #isActive(path: string): Promise<boolean> {
    return (await this.list()).some((swap) => swap.path === path);
  }

  async #must(name: string, args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<void> {
    const candidates = [`/usr/sbin/${name}`, `/sbin/${name}`];
    const program = await this.#commands.find(candidates);
    if (program === undefined) throw new SwapFailed(`there is no ${name} at ${candidates.join(" or ")}`);
    const { exitCode, timedOut, stderr } = await this.#commands.run({ program, args, timeoutMs }, signal);
    if (exitCode === 0) return;
    const how = timedOut ? `took longer than ${timeoutMs} ms` : `ended with ${exitCode}`;
    throw new SwapFailed(`${name} ${args.join(" ")} ${how}: ${stderr.trim().slice(-500)}`);
  }

  async #text(name: string): Promise<string> {
    try {
      return await readFile(`${this.#proc}/${name}`, "utf8");
    } catch (error) {
      // A kernel without swap has no /proc/swaps.
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
      throw error;
    }
  }
}

/** The kernel writes blanks, tabs, newlines and backslashes as octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_whole, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function absolute(path: string): string {
  if (!path.startsWith("/") || path.includes("\0")) throw new RangeError(`${JSON.stringify(path)} is no absolute path`);
  return path;
}
