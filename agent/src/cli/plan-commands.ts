/** `diff` and `apply`: the same engine as the agent's, by hand, on this machine or on an image. */
import { stopSignal, systemClock } from "@drover/lifecycle";
import { type Facts, Plan } from "@drover/proto";
import { IdentityStore } from "../session/identity.ts";
import { FileStateDirectory } from "../state/index.ts";
import { diffExitCode, formatDiff } from "./format-diff.ts";
import { lockStateDirectory } from "./instance-lock.ts";
import { loadConfig, USAGE } from "./load-config.ts";
import { askLocally } from "./local-socket.ts";
import { type Machine, machineAt } from "./machine.ts";
import { applyOffline, NOBODY, openOfflineEngine } from "./offline-engine.ts";
import { readPlanFile } from "./plan-file.ts";
import type { MachineOptions, Output } from "./program.ts";
import { ReadOnlyState } from "./read-only-state.ts";

interface Prepared {
  readonly machine: Machine;
  readonly stateDir: string;
  readonly nodeId: string;
  readonly planBytes: Buffer;
}

/** 0: the same, 1: differs, 2: cannot tell. */
export async function diff(options: MachineOptions, output: Output): Promise<number> {
  const prepared = await prepare(options, output);
  if (typeof prepared === "number") return prepared;
  return printDiff(prepared, output);
}

export async function apply(options: MachineOptions & { readonly dryRun?: boolean }, output: Output): Promise<number> {
  const prepared = await prepare(options, output);
  if (typeof prepared === "number") return prepared;
  if (options.dryRun === true) return (await printDiff(prepared, output)) === 2 ? 1 : 0;
  const { machine, stateDir, nodeId, planBytes } = prepared;
  const lock = await lockStateDirectory(stateDir);
  if (!lock.isHeld) {
    output.err(`an agent works on ${stateDir}; it applies what its coordinator says. To apply by hand: systemctl stop drover-agent\n`);
    return 1;
  }
  try {
    const state = await FileStateDirectory.open(stateDir);
    const print = (line: string): void => output.out(`${line}\n`);
    const engine = await openOfflineEngine({ host: machine.host, state, nodeId, clock: systemClock, print });
    const ending = await applyOffline(engine, planBytes, stopSignal());
    if (ending.outcome === "enforced") return 0;
    output.err(`not applied: ${ending.reason}: ${ending.message}\n`);
    return 1;
  } finally {
    machine.host.containerd.close();
    await lock.release();
  }
}

async function printDiff({ machine, stateDir, nodeId, planBytes }: Prepared, output: Output): Promise<number> {
  try {
    const state = new ReadOnlyState(stateDir);
    const engine = await openOfflineEngine({ host: machine.host, state, nodeId, clock: systemClock, print: () => undefined });
    const result = await engine.dryRun(planBytes, stopSignal());
    if (result.reason !== "") {
      output.err(`the plan is refused: ${result.reason}: ${result.message}\n`);
      return 2;
    }
    output.out(formatDiff(result.steps));
    return diffExitCode(result.steps);
  } finally {
    machine.host.containerd.close();
  }
}

/** A number is the exit code of what went wrong, and that is printed. */
async function prepare(options: MachineOptions, output: Output): Promise<Prepared | number> {
  const config = await loadConfig(options.root === undefined ? options.config : `${options.root}${options.config}`, output);
  if (config === undefined) return USAGE;
  const machine = machineAt(options.root, systemClock, config.containerdAddress);
  const stateDir = machine.pathOf(config.stateDir);
  const identity = await new IdentityStore(new ReadOnlyState(stateDir)).load();
  const planBytes =
    options.plan === undefined
      ? await enforcedPlan(stateDir, output)
      : await planFrom(options.plan, identity?.nodeId, options.root, output);
  if (planBytes !== undefined) return { machine, stateDir, nodeId: Plan.decode(planBytes).nodeId, planBytes };
  machine.host.containerd.close();
  return USAGE;
}

async function planFrom(file: string, nodeId: string | undefined, root: string | undefined, output: Output): Promise<Buffer | undefined> {
  const facts: Facts | undefined = undefined;
  const read = await readPlanFile(file, nodeId ?? NOBODY, facts);
  if (read.kind === "unusable") {
    output.err(`${read.problems.join("\n")}\n`);
    return undefined;
  }
  if (nodeId !== undefined && read.plan.nodeId !== nodeId) {
    output.err(`${file}: is for node ${read.plan.nodeId}, and ${root === undefined ? "this machine" : "the image"} is ${nodeId}\n`);
    return undefined;
  }
  return read.bytes;
}

/** Of the running agent: only it may open its journal. */
async function enforcedPlan(stateDir: string, output: Output): Promise<Buffer | undefined> {
  const answer = await askLocally(systemClock, stateDir, "enforced");
  if (typeof answer === "string") return Buffer.from(answer, "base64");
  output.err("no plan is enforced here, or no agent runs that could say; name one with --plan FILE\n");
  return undefined;
}
