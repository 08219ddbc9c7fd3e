/** Transient units through systemd-run; how they ended is read from systemctl show. */
import { open, rm } from "node:fs/promises";
import type { Commands } from "./host.ts";
import { named, UnitFailed } from "./systemd-units.ts";
import type { TransientStatus, TransientUnit, TransientUnits } from "./transient-units-port.ts";

const SYSTEMD_RUN = ["/usr/bin/systemd-run", "/bin/systemd-run"];
const SYSTEMCTL = ["/usr/bin/systemctl", "/bin/systemctl"];
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 120_000;
const ASK_TIMEOUT_MS = 30_000;
const PROPERTIES = ["LoadState", "ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus"];
/** CLD_EXITED of waitid(2). */
const EXITED = 1;

export class SystemdTransientUnits implements TransientUnits {
  readonly #commands: Commands;

  constructor(commands: Commands) {
    this.#commands = commands;
  }

  async start(order: TransientUnit, signal: AbortSignal): Promise<void> {
    const args = startArguments(order);
    await makeAnew(order.outputFile);
    const { exitCode, timedOut, stderr } = await this.#run(SYSTEMD_RUN, args, START_TIMEOUT_MS, signal);
    if (exitCode === 0) return;
    const how = timedOut ? `took longer than ${START_TIMEOUT_MS} ms` : `ended with ${exitCode}`;
    throw new UnitFailed(`systemd-run of ${order.unit} ${how}: ${stderr.trim().slice(-500)}`);
  }

  async status(unit: string, signal: AbortSignal): Promise<TransientStatus> {
    const args = ["show", `--property=${PROPERTIES.join(",")}`, named(unit)];
    const { exitCode, stdout, stderr } = await this.#run(SYSTEMCTL, args, ASK_TIMEOUT_MS, signal);
    if (exitCode !== 0) throw new UnitFailed(`systemctl show ${unit} ended with ${exitCode}: ${stderr.trim().slice(-500)}`);
    return transientStatus(stdout);
  }

  async collect(unit: string, signal: AbortSignal): Promise<void> {
    // One that failed is no longer there to be stopped, one that succeeded not to be reset: the other one is told in vain.
    await this.#run(SYSTEMCTL, ["stop", named(unit)], STOP_TIMEOUT_MS, signal);
    await this.#run(SYSTEMCTL, ["reset-failed", named(unit)], ASK_TIMEOUT_MS, signal);
    const { state } = await this.status(unit, signal);
    if (state !== "absent") throw new UnitFailed(`${unit} is still there after it was stopped`);
  }

  async #run(
    candidates: readonly string[],
    args: readonly string[],
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Awaited<ReturnType<Commands["run"]>>> {
    const program = await this.#commands.find(candidates);
    if (program === undefined) throw new UnitFailed(`there is no program at ${candidates.join(" or ")}`);
    return this.#commands.run({ program, args, timeoutMs }, signal);
  }
}

/** Pure. --remain-after-exit keeps a success to be asked for; a failure stays by itself until it is reset. */
export function startArguments({ unit, description, program, args, outputFile, runtimeMaxMs }: TransientUnit): readonly string[] {
  return [
    `--unit=${named(unit)}`,
    `--description=${description}`,
    "--quiet",
    "--service-type=exec",
    "--remain-after-exit",
    "--property=KillMode=control-group",
    "--property=TimeoutStopSec=10",
    `--property=RuntimeMaxSec=${Math.ceil(runtimeMaxMs / 1000)}`,
    "--property=OOMScoreAdjust=-900",
    "--property=StandardInput=null",
    `--property=StandardOutput=append:${outputFile}`,
    `--property=StandardError=append:${outputFile}`,
    "--setenv=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "--setenv=LC_ALL=C.UTF-8",
    "--",
    program,
    ...args.map(withoutExpansion),
  ];
}

/** systemd expands $NAME in the words of a command; $$ is a dollar. */
function withoutExpansion(word: string): string {
  return word.replaceAll("$", "$$$$");
}

/** Pure. @param shown what systemctl show printed, one Name=value each line */
export function transientStatus(shown: string): TransientStatus {
  const properties = new Map(shown.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  if (properties.get("LoadState") === "not-found") return { state: "absent" };
  const active = properties.get("ActiveState");
  const isOver = active === "failed" || (active === "active" && properties.get("SubState") === "exited");
  // Between its end and its collection a unit is loaded and inactive for a moment.
  if (active === "inactive") return { state: "absent" };
  if (!isOver) return { state: "running" };
  const status = Number(properties.get("ExecMainStatus"));
  const isExit = Number(properties.get("ExecMainCode")) === EXITED;
  return {
    state: "ended",
    exitCode: isExit ? status : undefined,
    signal: isExit ? undefined : status,
    result: properties.get("Result") ?? "",
  };
}

/** systemd would make it readable for all. */
async function makeAnew(path: string): Promise<void> {
  await rm(path, { force: true });
  const file = await open(path, "wx", 0o600);
  await file.close();
}
