/** What rungs of a repair do on the machine. */
import { mayRestart } from "@drover/api";
import { type Clock, DeadlineExceeded, sleep, withDeadline } from "@drover/lifecycle";
import { Impact, Plan, type ImagesSpec, ProgressPhase } from "@drover/proto";
import { ContainerdError } from "../host/containerd-port.ts";
import type { Host } from "../host/host.ts";
import type { StateDirectory } from "../ports.ts";
import { noCredentials, type Step, type StepProgress } from "../steps/step.ts";
import { noFailpoint } from "./failpoints.ts";
import type { JournalState } from "./journal-state.ts";
import { stepMemory } from "./memory.ts";
import type { OutputSink, ShowProgress } from "./reconcile-ports.ts";
import type { RungEnd } from "./rung-book.ts";
import { isFatal, runStep } from "./run-step.ts";

export interface RungSurroundings {
  readonly host: Host;
  readonly clock: Clock;
  readonly state: StateDirectory;
  readonly journal: () => JournalState;
  readonly imagesStep: Step<"images">;
  readonly output: OutputSink;
  readonly showProgress: ShowProgress;
}

const SERVICE = /^[A-Za-z0-9:_@][A-Za-z0-9:_.@-]{0,200}\.service$/;
const MAX_UNITS = 6;
const ACTIVE_POLL_MS = 2_000;
const ACTIVE_WITHIN_MS = 60_000;
/** Damage in an index hides damage in its manifest, and that in its layers: each is seen when what names it is back. */
const MAX_ROUNDS = 4;

export const done = (message: string): RungEnd => ({ done: true, reason: "", message });
export const failed = (reason: string, message: string): RungEnd => ({ done: false, reason, message: message.slice(0, 1000) });

/** Pure. @returns undefined when these units may be restarted */
export function refusedUnits(units: readonly string[]): RungEnd | undefined {
  if (units.length === 0) return failed("NoUnits", "no unit was named; name services such as kubelet.service");
  if (units.length > MAX_UNITS)
    return failed("TooManyUnits", `${units.length} units were named, at most ${MAX_UNITS} are restarted at once`);
  const wrong = units.find((unit) => !SERVICE.test(unit) || !mayRestart(unit));
  if (wrong === undefined) return undefined;
  const why =
    "services that run programs of Kubernetes may be restarted, such as containerd.service; those of Drover, D-Bus and systemd never";
  return failed("UnitNotAllowed", `${JSON.stringify(wrong.slice(0, 100))}: ${why}`);
}

export async function restartUnits(units: readonly string[], { host, clock }: RungSurroundings, signal: AbortSignal): Promise<RungEnd> {
  const asked = [...new Set(units)];
  for (const unit of asked) {
    try {
      await host.units.restart(unit, signal);
    } catch (error) {
      if (signal.aborted || isFatal(error)) throw error;
      return failed("RestartFailed", messageOf(error));
    }
    if (!(await staysActive(unit, host, clock, signal))) {
      return failed("NotActive", `${unit} was restarted and does not stay active; see journalctl -u ${unit}`);
    }
  }
  return done(`restarted and active: ${asked.join(", ")}`);
}

/** Active at two looks, one after the other: a program that fails at once is active for a moment. */
async function staysActive(unit: string, host: Host, clock: Clock, signal: AbortSignal): Promise<boolean> {
  const untilMs = clock.monotonicMs() + ACTIVE_WITHIN_MS;
  for (let seen = 0; clock.monotonicMs() <= untilMs; ) {
    seen = (await isActive(unit, host, signal)) ? seen + 1 : 0;
    if (seen === 2) return true;
    await sleep(clock, ACTIVE_POLL_MS, signal);
  }
  return false;
}

async function isActive(unit: string, host: Host, signal: AbortSignal): Promise<boolean> {
  try {
    return await host.units.isActive(unit, signal);
  } catch (error) {
    if (signal.aborted || isFatal(error)) throw error;
    return false;
  }
}

/** Images of the enforced plan: what is damaged is removed, what is absent is pulled as the plan's own step pulls. */
export async function repull(around: RungSurroundings, deadlineMs: number, signal: AbortSignal): Promise<RungEnd> {
  const { enforced } = around.journal();
  if (enforced === undefined) return failed("NothingEnforced", "no plan is enforced here yet, so no images are known");
  const plan = Plan.decode(Buffer.from(enforced.plan, "base64"));
  const step = plan.steps.find(({ spec }) => spec?.$case === "images");
  if (step?.spec?.$case !== "images" || step.spec.value.images.length === 0) return done("the enforced plan has no images");
  const untilMs = around.clock.monotonicMs() + deadlineMs;
  try {
    return await repullUntilWhole({ id: step.id, spec: step.spec.value, generation: plan.generation, untilMs }, around, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    if (error instanceof ContainerdError) return failed(`Containerd${error.code}`, error.message);
    if (error instanceof DeadlineExceeded) return failed("DeadlineExceeded", error.message);
    throw error;
  }
}

interface Wanted {
  readonly id: string;
  readonly spec: ImagesSpec;
  readonly generation: number;
  readonly untilMs: number;
}

async function repullUntilWhole(wanted: Wanted, around: RungSurroundings, signal: AbortSignal): Promise<RungEnd> {
  const { host, clock, showProgress } = around;
  const { id, spec, generation, untilMs } = wanted;
  const digests = [...new Set(spec.images.map(({ digest }) => digest))];
  const progress = (told: StepProgress): void => showProgress({ generation, step: id, ...told });
  const removed = new Set<string>();
  let pulled = 0;
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const leftMs = untilMs - clock.monotonicMs();
    if (leftMs <= 0) return failed("DeadlineExceeded", `${removed.size} damaged blobs were removed, and not all is back in time`);
    const reading = (bytes: { doneBytes: number; totalBytes: number }): void =>
      progress({ item: "reading back", phase: ProgressPhase.PROGRESS_PHASE_RUNNING, ...bytes, message: "" });
    const dropped = await withDeadline(clock, "reading images back", leftMs, signal, (ended) =>
      host.containerd.dropDamaged(digests, reading, ended),
    );
    const isNews = dropped.some((digest) => !removed.has(digest));
    for (const digest of dropped) removed.add(digest);
    const run = await runStep(
      {
        id,
        step: around.imagesStep,
        spec,
        impactBound: Impact.IMPACT_LIVE,
        deadlineMs: Math.max(1, untilMs - clock.monotonicMs()),
        intend: () => Promise.resolve(),
        unfinished: undefined,
      },
      {
        host,
        clock,
        generation,
        progress,
        signal,
        memory: stepMemory(around.state, "images"),
        credentials: noCredentials,
        output: around.output,
        failpoint: noFailpoint,
      },
    );
    if (run.outcome === "failed") {
      // What a pull brought may name layers that it did not bring: those are seen only now.
      if (!isNews && round > 0) return failed(run.reason, run.message);
      continue;
    }
    pulled += run.changes.length;
    if (dropped.length === 0) return done(`${removed.size} damaged blobs removed, ${pulled} images brought back`);
  }
  return failed("StillDamaged", `content is damaged again after ${MAX_ROUNDS} pulls (${removed.size} blobs removed): is the disk whole?`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
