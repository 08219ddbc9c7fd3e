/** Kernel modules: our own file under /etc/modules-load.d for the next boots, modprobe for now. Nothing is ever unloaded. */
import { canonicalModuleName, isModuleName } from "@drover/api";
import { type Change, Impact, type KernelModulesSpec, ProgressPhase } from "@drover/proto";
import { ModuleFailed, type ModulePresence } from "../../host/module-port.ts";
import { type Refusal, type Step, type StepCondition, type StepContext, StepError } from "../step.ts";
import { type Block, blocksOf, describeBlock, formatModulesFile, MODPROBE_DIRECTORIES, OWN_FILE } from "./module-file.ts";

export interface KernelModulesObserved {
  readonly isLive: boolean;
  /** undefined: absent. */
  readonly ownFile: string | undefined;
  /** Of each name of the spec; undefined: absent, or this is no running system. */
  readonly presence: Readonly<Record<string, ModulePresence | undefined>>;
  /** Of modules of the spec. */
  readonly blocks: readonly Block[];
}

export const kernelModulesStep: Step<"kernelModules", KernelModulesObserved> = {
  kind: "kernelModules",
  emptySpec: { names: [] },

  async observe(spec, context) {
    const { host, signal } = context;
    const presence: Record<string, ModulePresence | undefined> = {};
    for (const name of host.isLive ? spec.names.filter(isModuleName) : []) presence[name] = await host.modules.presence(name, signal);
    const ownFile = (await host.files.read(OWN_FILE))?.toString("utf8");
    const wanted = new Set(spec.names.map(canonicalModuleName));
    const blocks = wanted.size === 0 ? [] : (await readBlocks(context)).filter(({ module }) => wanted.has(module));
    return { isLive: host.isLive, ownFile, presence, blocks };
  },

  refuse(spec): Refusal | undefined {
    const wrong = spec.names.filter((name) => !isModuleName(name));
    if (wrong.length === 0) return undefined;
    return { reason: "ModuleNameInvalid", message: `${wrong.map((name) => JSON.stringify(name)).join(", ")}: no name of a kernel module` };
  },

  diff(spec, observed) {
    return [...fileChanges(spec, observed), ...(observed.isLive ? absentOf(spec, observed).map((name) => loadChange(name, observed)) : [])];
  },

  conditions(_spec, observed): readonly StepCondition[] {
    const type = "ModulesBlocked";
    if (observed.blocks.length === 0)
      return [{ type, status: "False", reason: "NotBlocked", message: "nothing keeps them from being loaded" }];
    const message = observed.blocks.map((block) => `${block.module}: ${describeBlock(block)}`).join("; ");
    return [{ type, status: "True", reason: "BlockedByConfiguration", message }];
  },

  async apply(spec, _changes, context) {
    const observed = await kernelModulesStep.observe(spec, context);
    await writeOwnFile(fileFor(spec), observed.ownFile, context);
    if (!observed.isLive) return;
    const failures: ModuleFailed[] = [];
    for (const name of absentOf(spec, observed)) {
      context.signal.throwIfAborted();
      const failure = await loadOne(name, context);
      if (failure !== undefined) failures.push(failure);
    }
    const [first] = failures;
    if (first === undefined) return;
    const blocks = observed.blocks.map((block) => `${block.module}: ${describeBlock(block)}`);
    const message = [...failures.map((failure) => failure.message), ...blocks].join("; ");
    // Whatever refused one may be repaired by hand; a kernel does not grow modules.
    const isRetryable = failures.every(({ reason }) => reason === "ModuleRejected");
    throw new StepError(isRetryable ? "ModuleRejected" : "ModuleNotFound", message, isRetryable);
  },
};

function fileFor(spec: KernelModulesSpec): string | undefined {
  return spec.names.length === 0 ? undefined : formatModulesFile(spec.names);
}

function absentOf(spec: KernelModulesSpec, observed: KernelModulesObserved): readonly string[] {
  return spec.names.filter((name) => observed.presence[name] === undefined);
}

function fileChanges(spec: KernelModulesSpec, observed: KernelModulesObserved): readonly Change[] {
  const wanted = fileFor(spec);
  if (wanted === observed.ownFile) return [];
  const listed = (text: string): string =>
    text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .join(" ");
  return [
    {
      path: OWN_FILE,
      from: observed.ownFile === undefined ? "" : listed(observed.ownFile) || "no modules",
      to: wanted === undefined ? "" : listed(wanted),
      impact: Impact.IMPACT_LIVE,
      note: wanted === undefined ? "what is loaded stays loaded until the next boot" : "",
    },
  ];
}

function loadChange(name: string, observed: KernelModulesObserved): Change {
  const block = observed.blocks.find(({ module }) => module === canonicalModuleName(name));
  return {
    path: `module ${name}`,
    from: "",
    to: "loaded",
    impact: Impact.IMPACT_LIVE,
    note: block === undefined ? "" : describeBlock(block),
  };
}

/** Memory tells that there is something to take back: it is there before the file, and gone after it. */
async function writeOwnFile(wanted: string | undefined, found: string | undefined, context: StepContext): Promise<void> {
  const { memory, host } = context;
  const isRemembered = (await memory.get()) !== undefined;
  if (wanted !== undefined) {
    if (!isRemembered) await memory.set({ isOurs: true });
    if (wanted !== found) await host.files.write(OWN_FILE, wanted, 0o644);
  } else {
    if (found !== undefined) await host.files.remove(OWN_FILE);
    if (isRemembered) await memory.set(undefined);
  }
  if (wanted !== found) context.say(wanted === undefined ? `removed ${OWN_FILE}` : `wrote ${OWN_FILE}`);
}

async function loadOne(name: string, context: StepContext): Promise<ModuleFailed | undefined> {
  const told = (phase: ProgressPhase, message: string): void => {
    context.say(`${name}: ${message}`);
    context.progress({ item: name, phase, doneBytes: 0, totalBytes: 0, message });
  };
  try {
    await context.host.modules.load(name, context.signal);
    told(ProgressPhase.PROGRESS_PHASE_DONE, "loaded");
    return undefined;
  } catch (error) {
    if (!(error instanceof ModuleFailed)) throw error;
    told(ProgressPhase.PROGRESS_PHASE_FAILED, error.message);
    return error;
  }
}

async function readBlocks(context: StepContext): Promise<readonly Block[]> {
  const { files, isLive } = context.host;
  const paths = new Map<string, string>();
  for (const directory of MODPROBE_DIRECTORIES) {
    for (const name of await files.list(directory)) if (name.endsWith(".conf") && !paths.has(name)) paths.set(name, `${directory}/${name}`);
  }
  const sources: { path: string; text: string }[] = [];
  for (const path of paths.values()) {
    // A link hides others of its name (to /dev/null), but is not followed.
    if ((await files.stat(path))?.kind === "file") sources.push({ path, text: (await files.read(path))?.toString("utf8") ?? "" });
  }
  const commandLine = isLive ? ((await files.read("/proc/cmdline"))?.toString("utf8") ?? "") : "";
  return blocksOf(sources, commandLine);
}
