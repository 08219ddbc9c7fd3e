/**
 * One kubeadm in a unit of its own. It is remembered before it is started, so that an agent that was killed finds it again and never
 * starts a second one; told to stop, the step leaves it running (its own RuntimeMaxSec ends it) and the next apply takes it up again.
 */
import { sleep } from "@drover/lifecycle";
import { ProgressPhase } from "@drover/proto";
import { redact } from "../../host/redact.ts";
import type { StepContext } from "../step.ts";
import { type Job, type KubeadmMemory, rememberedOf } from "./memory.ts";
import { type EndOfKubeadm, phaseOf } from "./output.ts";
import { CONFIG_DIRECTORY } from "./places.ts";

const POLL_MS = 200;
/** kubeadm itself gives discovery and TLS bootstrap 5 minutes each. */
const RUNTIME_MAX_MS = 15 * 60_000;
const MAX_OUTPUT_BYTES = 8 * 2 ** 20;

export type JobEnd = { readonly kind: "ended"; readonly end: EndOfKubeadm; readonly output: string } | { readonly kind: "lost" };

export interface JobOrder {
  readonly job: Job;
  readonly program: string;
  readonly args: readonly string[];
}

/** Names no other job of this machine has had. */
export async function newJob(kind: Job["kind"], context: StepContext): Promise<Job> {
  const bootId = await context.host.kernel.bootId();
  const unit = `drover-kubeadm-${kind}-${Math.floor(context.clock.now()).toString(36)}.service`;
  return { kind, unit, bootId };
}

/** The job is in memory already; whatever the program needs is where it looks for it. */
export async function startJob({ job, program, args }: JobOrder, context: StepContext): Promise<void> {
  await context.host.files.makeDirectory(CONFIG_DIRECTORY, 0o700);
  context.say(`starting ${program} ${args.join(" ")} as ${job.unit}`);
  const description = `kubeadm ${job.kind}, started by Drover`;
  const outputFile = outputPath(job);
  await context.host.transientUnits.start(
    { unit: job.unit, description, program, args, outputFile, runtimeMaxMs: RUNTIME_MAX_MS },
    context.signal,
  );
}

/** Waits until it has ended, telling what it prints. @throws the signal's reason; it runs on then */
export async function followJob(job: Job, context: StepContext): Promise<JobEnd> {
  const { host, signal, clock } = context;
  if (job.bootId !== (await host.kernel.bootId())) return { kind: "lost" };
  const printed = new Printed(context);
  for (;;) {
    // Asked before the output is read: what it printed last is read after it ended.
    const status = await host.transientUnits.status(job.unit, signal);
    if (status.state === "absent") return { kind: "lost" };
    const output = await readOutput(job, context);
    printed.take(output, status.state === "ended");
    if (status.state === "ended") {
      printed.end(status.exitCode === 0);
      return { kind: "ended", end: status, output };
    }
    await sleep(clock, POLL_MS, signal);
  }
}

/** How it ended is remembered already. */
export async function forgetJob(memory: KubeadmMemory, job: Job, context: StepContext): Promise<KubeadmMemory> {
  if (job.bootId === (await context.host.kernel.bootId())) await context.host.transientUnits.collect(job.unit, context.signal);
  await context.host.files.remove(outputPath(job));
  const { job: _over, ...rest } = memory;
  await context.memory.set(rememberedOf(rest));
  return rest;
}

export async function readOutput(job: Job, { host }: StepContext): Promise<string> {
  return (await host.files.read(outputPath(job), MAX_OUTPUT_BYTES))?.toString("utf8") ?? "";
}

function outputPath(job: Job): string {
  return `${CONFIG_DIRECTORY}/${job.unit}.output`;
}

class Printed {
  readonly #context: StepContext;
  #shown = 0;
  #phase: string | undefined;

  constructor(context: StepContext) {
    this.#context = context;
  }

  take(output: string, isWhole: boolean): void {
    const end = isWhole ? output.length : output.lastIndexOf("\n") + 1;
    if (end <= this.#shown) return;
    const lines = redact(output.slice(this.#shown, end)).split("\n");
    this.#shown = end;
    for (const line of lines) {
      if (line.trim() === "") continue;
      this.#context.say(line);
      const found = phaseOf(line);
      if (found === undefined) continue;
      if (this.#phase !== undefined && this.#phase !== found.phase) this.end(true);
      this.#phase = found.phase;
      this.#tell(ProgressPhase.PROGRESS_PHASE_RUNNING, found.text);
    }
  }

  end(isSuccess: boolean): void {
    if (this.#phase !== undefined) this.#tell(isSuccess ? ProgressPhase.PROGRESS_PHASE_DONE : ProgressPhase.PROGRESS_PHASE_FAILED, "");
  }

  #tell(phase: ProgressPhase, message: string): void {
    this.#context.progress({ item: this.#phase ?? "", phase, doneBytes: 0, totalBytes: 0, message });
  }
}
