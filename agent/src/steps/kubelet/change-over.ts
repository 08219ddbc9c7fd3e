/**
 * Swaps the files of a node's kubelet and restarts it once; taken back when it does not stay up. One that does not run is not started:
 * it reads them when it is.
 */
import { sleep } from "@drover/lifecycle";
import { ProgressPhase } from "@drover/proto";
import { KUBELET_UNIT } from "../kubeadm/places.ts";
import { type StepContext, StepError } from "../step.ts";
import { type Attempt, type FileSwap, rememberedOf } from "./memory.ts";
import { textOf } from "./observed.ts";
import { UNIT_DROP_IN_PATH } from "./wanted.ts";

/** A kubelet that does not like its configuration ends within seconds, and systemd waits 10 s before it tries again. */
const STEADY_MS = 10_000;
const LOOK_MS = 1_000;

/** @throws StepError KubeletNotHealthy, undone */
export async function changeOver(
  files: readonly FileSwap[],
  owned: { readonly before: readonly string[]; readonly after: readonly string[]; readonly isIdle: boolean },
  context: StepContext,
): Promise<void> {
  const attempt: Attempt = { phase: "swapping", files, previousFiles: owned.before, isIdle: owned.isIdle };
  await context.memory.set({ files: owned.after, attempt });
  await finish(attempt, owned.after, context);
}

/** What was under way when the agent stopped, or was stopped to be undone. @throws StepError KubeletNotHealthy, undone */
export async function settle(attempt: Attempt, files: readonly string[], context: StepContext): Promise<void> {
  if (context.isUndo === true) return abandon(attempt, files, context);
  if (attempt.phase === "reverting") return revert(attempt, files, attempt.failure ?? "the change was not finished", context);
  return finish(attempt, files, context);
}

async function finish(attempt: Attempt, files: readonly string[], context: StepContext): Promise<void> {
  await swap(attempt.files, context);
  const isUnfelt = attempt.isIdle === true && !(await context.host.units.isActive(KUBELET_UNIT, context.signal));
  const failure = isUnfelt ? undefined : await restartAndWatch(context);
  if (failure !== undefined) return revert(attempt, files, failure, context);
  await context.memory.set(rememberedOf({ files }));
}

/** @throws StepError KubeletNotHealthy, when it does not stay up with the old files either */
async function abandon(attempt: Attempt, files: readonly string[], context: StepContext): Promise<void> {
  const again = await goBack(attempt, files, attempt.failure ?? "the change was not confirmed", context);
  if (again !== undefined) throw new StepError("KubeletNotHealthy", `the files are back as they were, but ${again}`, true);
}

async function revert(attempt: Attempt, files: readonly string[], failure: string, context: StepContext): Promise<never> {
  const again = await goBack(attempt, files, failure, context);
  const outcome =
    again === undefined ? "the files are back as they were and it runs again" : `the files are back as they were, but ${again}`;
  throw new StepError("KubeletNotHealthy", `with the new configuration ${failure}; ${outcome}`, false, again === undefined);
}

/** @returns why it does not run again */
async function goBack(attempt: Attempt, files: readonly string[], failure: string, context: StepContext): Promise<string | undefined> {
  context.say(`going back: ${failure}`);
  await context.memory.set({ files, attempt: { ...attempt, phase: "reverting", failure } });
  const back = attempt.files.toReversed().map(({ path, before, after }) => ({ path, before: after, after: before }));
  await swap(back, context);
  const again = await restartAndWatch(context);
  await context.memory.set(rememberedOf({ files: attempt.previousFiles }));
  return again;
}

/** What somebody else wrote meanwhile stays. */
export async function swap(files: readonly FileSwap[], context: StepContext): Promise<void> {
  const { host } = context;
  for (const { path, before, after } of files) {
    if ((await textOf(path, context)) !== before) continue;
    if (after === null) await host.files.remove(path);
    else await host.files.write(path, after, (await host.files.stat(path))?.mode ?? 0o644);
    context.say(`${after === null ? "removed" : "wrote"} ${path}`);
  }
  if (files.some(({ path }) => path === UNIT_DROP_IN_PATH)) await host.units.daemonReload(context.signal);
}

/** @returns why it counts as not running */
async function restartAndWatch(context: StepContext): Promise<string | undefined> {
  const { host, clock, signal } = context;
  context.say(`restarting ${KUBELET_UNIT}`);
  context.progress({
    item: `restart ${KUBELET_UNIT}`,
    phase: ProgressPhase.PROGRESS_PHASE_RUNNING,
    doneBytes: 0,
    totalBytes: 0,
    message: "",
  });
  try {
    await host.units.restart(KUBELET_UNIT, signal);
  } catch (error) {
    signal.throwIfAborted();
    if ((error as { isFatal?: unknown }).isFatal === true) throw error;
    return (error as Error).message;
  }
  const startedMs = clock.monotonicMs();
  for (;;) {
    await sleep(clock, LOOK_MS, signal);
    if (!(await host.units.isActive(KUBELET_UNIT, signal))) {
      return `${KUBELET_UNIT} did not stay up for ${STEADY_MS / 1000} s: see journalctl --unit=${KUBELET_UNIT}`;
    }
    if (clock.monotonicMs() - startedMs >= STEADY_MS) return undefined;
  }
}
