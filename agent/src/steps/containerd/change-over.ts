/**
 * The moment between two configurations: files swapped under a try record, containerd restarted, CRI asked, and all of it
 * taken back when CRI does not answer. Killed anywhere, `settle` ends it the one way or the other.
 */
import { sleep, withDeadline } from "@drover/lifecycle";
import { ProgressPhase } from "@drover/proto";
import { type StepContext, StepError } from "../step.ts";
import { type Attempt, type ContainerdMemory, rememberedOf } from "./memory.ts";

const UNIT = "containerd.service";
const RESTART_DEADLINE_MS = 120_000;
const CRI_DEADLINE_MS = 60_000;
const CRI_CALL_DEADLINE_MS = 5_000;
const CRI_INTERVAL_MS = 500;

type FileSwap = Attempt["files"][number];

/**
 * @param during what is remembered until it is over: the union of before and after
 * @throws StepError CriNotAnswering, when all is back as it was
 */
export async function changeOver(
  files: readonly FileSwap[],
  previous: ContainerdMemory,
  during: ContainerdMemory,
  after: ContainerdMemory,
  context: StepContext,
): Promise<void> {
  const attempt: Attempt = {
    bootId: await context.host.kernel.bootId(),
    startedAtMs: context.clock.now(),
    phase: "swapping",
    files,
    previous,
  };
  await context.memory.set({ ...during, attempt });
  await finish(attempt, during, after, context);
}

/**
 * Ends what a killed agent left under way: forward when a file had been changed already, else as if it had never begun; backward only when it is
 * being undone.
 * @throws StepError CriNotAnswering, when all is back as it was
 */
export async function settle(memory: ContainerdMemory, attempt: Attempt, context: StepContext): Promise<void> {
  const { attempt: _ended, ...during } = memory;
  if (context.isUndo === true) return abandon(attempt, during, context);
  if (attempt.phase === "reverting") return revert(attempt, during, attempt.failure ?? "", context);
  const states = await Promise.all(attempt.files.map((file) => stateOf(file, context)));
  if (attempt.phase === "swapping" && states.every((state) => state === "before")) {
    await context.memory.set(rememberedOf(attempt.previous));
    return;
  }
  const isSameBoot = attempt.bootId === (await context.host.kernel.bootId());
  const isSwapped = states.every((state) => state !== "before");
  // Another boot has started containerd with what lay there; with the swap half done it is started again.
  const phase = isSwapped && !isSameBoot ? "restarted" : attempt.phase;
  await finish({ ...attempt, phase }, during, during, context);
}

async function finish(attempt: Attempt, during: ContainerdMemory, after: ContainerdMemory, context: StepContext): Promise<void> {
  if (attempt.phase === "swapping") {
    for (const file of attempt.files) if ((await stateOf(file, context)) === "before") await put(file.path, file.after, context);
  }
  const failure = (attempt.phase === "swapping" ? await restart(context) : undefined) ?? (await recordAndAsk(attempt, during, context));
  if (failure !== undefined) return revert(attempt, during, failure, context);
  await context.memory.set(rememberedOf(after));
}

async function recordAndAsk(attempt: Attempt, during: ContainerdMemory, context: StepContext): Promise<string | undefined> {
  if (attempt.phase === "swapping") await context.memory.set({ ...during, attempt: { ...attempt, phase: "restarted" } });
  return waitForCri(context);
}

/** @throws StepError CriNotAnswering, when CRI does not answer with the old configuration either */
async function abandon(attempt: Attempt, during: ContainerdMemory, context: StepContext): Promise<void> {
  const again = await goBack(attempt, during, attempt.failure ?? "the change was not confirmed", context);
  if (again !== undefined) throw new StepError("CriNotAnswering", `the files are back as they were, but ${again}`, true);
}

async function revert(attempt: Attempt, during: ContainerdMemory, failure: string, context: StepContext): Promise<never> {
  const again = await goBack(attempt, during, failure, context);
  const outcome =
    again === undefined ? "the files are back as they were and CRI answers again" : `the files are back as they were, but ${again}`;
  throw new StepError("CriNotAnswering", `with the new configuration ${failure}; ${outcome}`, false, again === undefined);
}

/** @returns why CRI does not answer again */
async function goBack(attempt: Attempt, during: ContainerdMemory, failure: string, context: StepContext): Promise<string | undefined> {
  context.say(`going back: ${failure}`);
  await context.memory.set({ ...during, attempt: { ...attempt, phase: "reverting", failure } });
  for (const file of attempt.files.toReversed()) {
    // What somebody else wrote meanwhile is not ours to take back.
    if ((await stateOf(file, context)) === "after") await put(file.path, file.before, context);
  }
  const again = (await restart(context)) ?? (await waitForCri(context));
  await context.memory.set(rememberedOf(attempt.previous));
  return again;
}

/** @returns why it failed */
async function restart(context: StepContext): Promise<string | undefined> {
  context.say(`restarting ${UNIT}`);
  context.progress({ item: `restart ${UNIT}`, phase: ProgressPhase.PROGRESS_PHASE_RUNNING, doneBytes: 0, totalBytes: 0, message: "" });
  return outcomeOf(context, "the restart", RESTART_DEADLINE_MS, (signal) => context.host.units.restart(UNIT, signal));
}

/** @returns why CRI counts as not answering */
async function waitForCri(context: StepContext): Promise<string | undefined> {
  const { clock, host } = context;
  const deadlineMs = clock.monotonicMs() + CRI_DEADLINE_MS;
  for (;;) {
    let status = "";
    const failure = await outcomeOf(context, "the answer", CRI_CALL_DEADLINE_MS, async (signal) => {
      const version = await host.containerd.version(signal);
      const { isReady, message } = await host.containerd.criStatus(signal);
      if (!isReady) status = `the runtime is not ready: ${message}`;
      else context.say(`containerd ${version} answers, CRI is ready`);
    });
    if (failure === undefined && status === "") return undefined;
    if (clock.monotonicMs() >= deadlineMs) return `CRI did not answer for ${CRI_DEADLINE_MS / 1000} s: ${failure ?? status}`;
    await sleep(clock, CRI_INTERVAL_MS, context.signal);
  }
}

/** An expected failure becomes its message; being told to stop does not: then the try record waits for the next start. */
async function outcomeOf(
  context: StepContext,
  what: string,
  deadlineMs: number,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<string | undefined> {
  try {
    await withDeadline(context.clock, what, deadlineMs, context.signal, work);
    return undefined;
  } catch (error) {
    context.signal.throwIfAborted();
    return (error as Error).message;
  }
}

async function stateOf(file: FileSwap, context: StepContext): Promise<"before" | "after" | "other"> {
  const content = (await context.host.files.read(file.path))?.toString("utf8") ?? null;
  if (content === file.after) return "after";
  return content === file.before ? "before" : "other";
}

/** CAs and mirrors are no secrets; config.toml may hold registry passwords. */
export async function put(path: string, content: string | null, context: StepContext): Promise<void> {
  const { files } = context.host;
  if (content === null) await files.remove(path);
  else await files.write(path, content, (await files.stat(path))?.mode ?? 0o644);
  context.say(`${content === null ? "removed" : "wrote"} ${path}`);
}
