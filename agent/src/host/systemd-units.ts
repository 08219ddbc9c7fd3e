/** systemd's units through systemctl. */
import type { Commands, Units } from "./host.ts";

const CANDIDATES = ["/usr/bin/systemctl", "/bin/systemctl"];
const RESTART_TIMEOUT_MS = 120_000;
const ASK_TIMEOUT_MS = 30_000;
const UNIT = /^[A-Za-z0-9:_@][A-Za-z0-9:_.@-]{0,200}\.(service|socket|mount|timer|target)$/;

/** systemctl did not do it; message holds the end of what it said. */
export class UnitFailed extends Error {
  override readonly name = "UnitFailed";
  readonly code = "UNIT_FAILED";
}

export class SystemdUnits implements Units {
  readonly #commands: Commands;
  readonly #candidates: readonly string[];

  constructor(commands: Commands, candidates: readonly string[] = CANDIDATES) {
    this.#commands = commands;
    this.#candidates = candidates;
  }

  async restart(unit: string, signal: AbortSignal): Promise<void> {
    await this.#must(["restart", named(unit)], RESTART_TIMEOUT_MS, signal);
  }

  async stop(unit: string, signal: AbortSignal): Promise<void> {
    const { exitCode, stderr } = await this.#run(["stop", named(unit)], RESTART_TIMEOUT_MS, signal);
    // 5: there is no such unit.
    if (exitCode !== 0 && exitCode !== 5)
      throw new UnitFailed(`systemctl stop ${unit} ended with ${exitCode}: ${stderr.trim().slice(-500)}`);
  }

  async enable(unit: string, signal: AbortSignal): Promise<void> {
    await this.#must(["enable", "--quiet", named(unit)], ASK_TIMEOUT_MS, signal);
  }

  async isActive(unit: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#run(["is-active", "--quiet", named(unit)], ASK_TIMEOUT_MS, signal)).exitCode === 0;
  }

  async daemonReload(signal: AbortSignal): Promise<void> {
    await this.#must(["daemon-reload"], RESTART_TIMEOUT_MS, signal);
  }

  async #must(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { exitCode, timedOut, stderr } = await this.#run(args, timeoutMs, signal);
    if (exitCode === 0) return;
    const how = timedOut ? `took longer than ${timeoutMs} ms` : `ended with ${exitCode}`;
    throw new UnitFailed(`systemctl ${args.join(" ")} ${how}: ${stderr.trim().slice(-500)}`);
  }

  async #run(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<Awaited<ReturnType<Commands["run"]>>> {
    const program = await this.#commands.find(this.#candidates);
    if (program === undefined) throw new UnitFailed(`there is no systemctl at ${this.#candidates.join(" or ")}`);
    return this.#commands.run({ program, args, timeoutMs }, signal);
  }
}

/** @throws RangeError for what is an option, a path or no unit */
export function named(unit: string): string {
  if (!UNIT.test(unit)) throw new RangeError(`${JSON.stringify(unit)} is no unit name`);
  return unit;
}
