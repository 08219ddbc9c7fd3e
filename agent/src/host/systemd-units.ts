/** systemd's units through systemctl. */
import type { CommandResult, Commands, Units } from "./host.ts";

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
    const args = ["is-active", "--quiet", named(unit)];
    const result = await this.#run(args, ASK_TIMEOUT_MS, signal);
    if (result.exitCode === 0) return true;
    // 3: it does not run; 4: there is no such unit. All else (no answer in time, no bus) tells nothing of the unit.
    if (result.exitCode === 3 || result.exitCode === 4) return false;
    throw failed(args, ASK_TIMEOUT_MS, result);
  }

  async daemonReload(signal: AbortSignal): Promise<void> {
    await this.#must(["daemon-reload"], RESTART_TIMEOUT_MS, signal);
  }

  async canReboot(signal: AbortSignal): Promise<boolean> {
    const { exitCode, stdout } = await this.#run(["show", "--property=LoadState", "--value", "reboot.target"], ASK_TIMEOUT_MS, signal);
    return exitCode === 0 && stdout.trim() === "loaded";
  }

  async reboot(signal: AbortSignal): Promise<void> {
    await this.#must(["reboot", "--no-block"], ASK_TIMEOUT_MS, signal);
  }

  async #must(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<void> {
    const result = await this.#run(args, timeoutMs, signal);
    if (result.exitCode !== 0) throw failed(args, timeoutMs, result);
  }

  async #run(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<CommandResult> {
    const program = await this.#commands.find(this.#candidates);
    if (program === undefined) throw new UnitFailed(`there is no systemctl at ${this.#candidates.join(" or ")}`);
    return this.#commands.run({ program, args, timeoutMs }, signal);
  }
}

function failed(args: readonly string[], timeoutMs: number, { exitCode, timedOut, stderr }: CommandResult): UnitFailed {
  const how = timedOut ? `took longer than ${timeoutMs} ms` : `ended with ${exitCode}`;
  return new UnitFailed(`systemctl ${args.join(" ")} ${how}: ${stderr.trim().slice(-500)}`);
}

/** @throws RangeError for what is an option, a path or no unit */
export function named(unit: string): string {
  if (!UNIT.test(unit)) throw new RangeError(`${JSON.stringify(unit)} is no unit name`);
  return unit;
}
