/**
 * Swap: off now and at each boot, or given back. Off takes three places: what is in use, /etc/fstab, and units that are not
 * fstab's. Each change is remembered before it is made; giving back undoes what is remembered and leaves the rest alone.
 */
import { KEPT_SUFFIX } from "@drover/api";
import { type Change, Impact, ProgressPhase, SwapMode, type SwapSpec } from "@drover/proto";
import { type ActiveSwap, SwapFailed } from "../../host/swap-port.ts";
import { type Refusal, type Step, type StepCondition, type StepContext, StepError } from "../step.ts";
import { type BootSources, MASK_DIRECTORY, MASK_TARGET, readBootSources, ZRAM_FILE, ZRAM_TEXT } from "./boot-sources.ts";
import { FSTAB, markedLines, swapLines, withoutSwap, withSwapAgain } from "./fstab.ts";
import { mergedSwapMemory, readSwapMemory, type SwapMemory } from "./swap-memory.ts";

export interface SwapObserved {
  readonly isLive: boolean;
  /** Empty where nothing runs. */
  readonly active: readonly ActiveSwap[];
  readonly availableBytes: number;
  /** A character per byte; undefined: absent. */
  readonly fstab: string | undefined;
  readonly sources: BootSources;
  readonly memory: SwapMemory | undefined;
}

/** What must stay available beside what comes back from swap. */
const MARGIN_BYTES = 256 * 2 ** 20;
const MARGIN_SHARE = 0.05;

export const swapStep: Step<"swap", SwapObserved> = {
  kind: "swap",
  emptySpec: { mode: SwapMode.SWAP_MODE_UNSPECIFIED },

  async observe(_spec, context) {
    const { host, memory } = context;
    return {
      isLive: host.isLive,
      active: host.isLive ? await host.swaps.list() : [],
      availableBytes: host.isLive ? await host.swaps.availableBytes() : 0,
      fstab: await readFstab(context),
      sources: await readBootSources(context),
      memory: readSwapMemory(await memory.get()),
    };
  },

  refuse(spec): Refusal | undefined {
    if (isOff(spec) || spec.mode === SwapMode.SWAP_MODE_UNSPECIFIED) return undefined;
    return { reason: "SwapModeUnknown", message: `swap mode ${spec.mode} is not known to this agent` };
  },

  diff(spec, observed) {
    return isOff(spec) ? offChanges(observed) : backChanges(observed);
  },

  conditions(_spec, observed): readonly StepCondition[] {
    if (!observed.isLive) return [];
    const inUse = observed.active.map(({ path }) => path).join(", ");
    if (inUse === "") return [{ type: "SwapInUse", status: "False", reason: "NoSwap", message: "no swap is in use" }];
    return [{ type: "SwapInUse", status: "True", reason: "SwapActive", message: `in use: ${inUse}` }];
  },

  async apply(spec, _changes, context) {
    const observed = await swapStep.observe(spec, context);
    await (isOff(spec) ? switchOff(observed, context) : giveBack(observed, context));
  },
};

function isOff(spec: SwapSpec): boolean {
  return spec.mode === SwapMode.SWAP_MODE_OFF;
}

const live = (path: string, from: string, to: string, note = ""): Change => ({ path, from, to, impact: Impact.IMPACT_LIVE, note });

function offChanges(observed: SwapObserved): readonly Change[] {
  const misfit = misfitOf(observed);
  return [
    ...swapLines(observed.fstab ?? "").map((line) => live(FSTAB, shown(line), "", "kept behind a marker")),
    ...observed.sources.units.map((unit) => live(unit, "may start", "masked")),
    ...(observed.sources.isZramConfigured ? [live(ZRAM_FILE, "makes zram devices", "none")] : []),
    ...observed.active.map(({ path, usedBytes }) => live(`swap ${path}`, `on, ${mebibytes(usedBytes)} used`, "off", misfit ?? "")),
  ];
}

function backChanges({ memory, fstab, isLive }: SwapObserved): readonly Change[] {
  if (memory === undefined) return [];
  const marked = markedLines(fstab ?? "");
  return [
    ...marked.map((line) => live(FSTAB, "", shown(line))),
    ...memory.masked.map((unit) => live(unit, "masked", "may start")),
    ...(memory.isZramOurs ? [live(ZRAM_FILE, "none", "as before")] : []),
    ...memory.off.map(({ path }) => live(`swap ${path}`, "off", "on", isLive ? "" : "comes back with a boot")),
    // Memory without anything to give back: killed after the last of it.
    ...(marked.length + memory.masked.length + memory.off.length === 0 && !memory.isZramOurs ? [live("swap", "off", "as it was")] : []),
  ];
}

/** undefined: what is swapped out fits into memory. */
function misfitOf({ active, availableBytes }: SwapObserved): string | undefined {
  const usedBytes = active.reduce((sum, swap) => sum + swap.usedBytes, 0);
  const marginBytes = Math.max(MARGIN_BYTES, availableBytes * MARGIN_SHARE);
  if (usedBytes === 0 || usedBytes + marginBytes <= availableBytes) return undefined;
  return (
    `${mebibytes(usedBytes)} are swapped out, and ${mebibytes(availableBytes)} of memory are available, of which ` +
    `${mebibytes(marginBytes)} must stay: move workloads away from this node first`
  );
}

async function switchOff(observed: SwapObserved, context: StepContext): Promise<void> {
  const { host, signal, memory } = context;
  const misfit = misfitOf(observed);
  // Before anything is changed: half off would be off at the next boot, with no one asked.
  if (misfit !== undefined) throw new StepError("SwapDoesNotFit", misfit, true);
  const changes = offChanges(observed);
  if (changes.length === 0) return;
  const added = {
    masked: observed.sources.units,
    isZramOurs: observed.sources.isZramConfigured,
    off: observed.active.map(({ path, priority }) => ({ path, priority })),
  };
  await memory.set(mergedSwapMemory(observed.memory, added));
  await rewriteFstab(withoutSwap, context);
  for (const unit of observed.sources.units)
    await putOver(`${MASK_DIRECTORY}/${unit}`, () => host.files.writeLink(`${MASK_DIRECTORY}/${unit}`, MASK_TARGET), context);
  if (observed.sources.isZramConfigured) await putOver(ZRAM_FILE, () => host.files.write(ZRAM_FILE, ZRAM_TEXT, 0o644), context);
  if (!host.isLive) return;
  await reload(context);
  for (const { path, usedBytes } of observed.active) {
    signal.throwIfAborted();
    tell(context, path, ProgressPhase.PROGRESS_PHASE_RUNNING, `switching off, ${mebibytes(usedBytes)} used`);
    try {
      await host.swaps.off(path, signal);
    } catch (error) {
      if (!(error instanceof SwapFailed)) throw error;
      tell(context, path, ProgressPhase.PROGRESS_PHASE_FAILED, error.message);
      throw new StepError("SwapOffFailed", error.message, true);
    }
    tell(context, path, ProgressPhase.PROGRESS_PHASE_DONE, "off");
  }
}

async function giveBack(observed: SwapObserved, context: StepContext): Promise<void> {
  const { host, memory } = context;
  if (observed.memory === undefined) return;
  await rewriteFstab(withSwapAgain, context);
  for (const unit of observed.memory.masked) {
    const path = `${MASK_DIRECTORY}/${unit}`;
    await takeAway(path, (await host.files.readLink(path)) === MASK_TARGET, context);
  }
  if (observed.memory.isZramOurs) {
    const isOurs =
      (await host.files.stat(ZRAM_FILE))?.kind === "file" && (await host.files.read(ZRAM_FILE))?.toString("utf8") === ZRAM_TEXT;
    await takeAway(ZRAM_FILE, isOurs, context);
  }
  if (host.isLive) {
    await reload(context);
    await switchOn(observed.memory, context);
  }
  await memory.set(undefined);
}

/** What cannot be switched on is gone or another's now: the next boot decides, by what we have given back. */
async function switchOn({ off }: SwapMemory, context: StepContext): Promise<void> {
  for (const { path, priority } of off) {
    context.signal.throwIfAborted();
    try {
      await context.host.swaps.on(path, priority < 0 ? undefined : priority, context.signal);
      tell(context, path, ProgressPhase.PROGRESS_PHASE_DONE, "on again");
    } catch (error) {
      if (!(error instanceof SwapFailed)) throw error;
      tell(context, path, ProgressPhase.PROGRESS_PHASE_FAILED, `stays off until something brings it back: ${error.message}`);
    }
  }
}

/** Its encoding is whatever its writer used: read and written as bytes, or a path that is no UTF-8 would mount no more. */
async function readFstab({ host }: StepContext): Promise<string | undefined> {
  return (await host.files.read(FSTAB))?.toString("latin1");
}

function shown(line: string): string {
  return Buffer.from(line, "latin1").toString("utf8").trim();
}

/** Read again right before: whoever wrote it meanwhile wrote something worth keeping. */
async function rewriteFstab(change: (text: string) => string, context: StepContext): Promise<void> {
  const { files } = context.host;
  const text = await readFstab(context);
  if (text === undefined || change(text) === text) return;
  await files.write(FSTAB, Buffer.from(change(text), "latin1"), (await files.stat(FSTAB))?.mode ?? 0o644);
  context.say(`rewrote the swap lines of ${FSTAB}`);
}

/** What is at path is kept beside it first, without a moment in which nothing is there. */
async function putOver(path: string, put: () => Promise<void>, context: StepContext): Promise<void> {
  if ((await context.host.files.stat(path)) !== undefined) await context.host.files.writeHardLink(path, `${path}${KEPT_SUFFIX}`);
  await put();
  context.say(`wrote ${path}`);
}

/** What was there before goes back; what somebody else has put there since stays. */
async function takeAway(path: string, isOurs: boolean, context: StepContext): Promise<void> {
  const { files } = context.host;
  const kept = `${path}${KEPT_SUFFIX}`;
  const isKept = (await files.stat(kept)) !== undefined;
  const isGone = (await files.stat(path)) === undefined;
  if (isKept && (isOurs || isGone)) await files.rename(kept, path);
  else if (isOurs) await files.remove(path);
  // Killed between keeping it and writing ours: two names of one file.
  else if (isKept && (await files.identity(kept))?.version === (await files.identity(path))?.version) await files.remove(kept);
  context.say(isOurs ? `gave ${path} back` : `left ${path} as it is`);
}

/** Without systemd there is nothing to tell: the files count at the next boot. */
async function reload(context: StepContext): Promise<void> {
  try {
    await context.host.units.daemonReload(context.signal);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "UNIT_FAILED") throw error;
    context.say(`systemd was not told to read its units again: ${(error as Error).message}`);
  }
}

function tell(context: StepContext, item: string, phase: ProgressPhase, message: string): void {
  context.say(`${item}: ${message}`);
  context.progress({ item, phase, doneBytes: 0, totalBytes: 0, message });
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
