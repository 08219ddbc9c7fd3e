/** kubeadm reset in a unit of its own, and after it what it leaves behind. */
import type { KubeadmSpec } from "@drover/proto";
import { type StepContext, StepError } from "../step.ts";
import { cleanUp } from "./clean-up.ts";
import { followJob, forgetJob, newJob, startJob } from "./job.ts";
import { resetArguments } from "./join-config.ts";
import { type KubeadmMemory, rememberedOf } from "./memory.ts";
import { API_SERVER_MANIFEST } from "./places.ts";
import { installedKubeadm } from "./programs.ts";

/**
 * Begun again when it was interrupted; what was done is not done twice. Whatever kubeadm says, what counts is what is left afterwards.
 * @returns what is remembered then: no membership
 * @throws StepError ControlPlaneNode, KubeadmNotInstalled, ResetIncomplete
 */
export async function reset(spec: KubeadmSpec, memory: KubeadmMemory, context: StepContext): Promise<KubeadmMemory> {
  if ((await context.host.files.stat(API_SERVER_MANIFEST)) !== undefined) {
    throw new StepError("ControlPlaneNode", "this machine runs a control plane, which is never reset by a plan", false);
  }
  const { program, version } = await installedKubeadm(context);
  const job = await newJob("reset", context);
  const during = { ...memory, job };
  await context.memory.set(rememberedOf(during));
  await startJob({ job, program, args: resetArguments(spec.criSocket, version) }, context);
  return finishReset(during, context);
}

/** Of a reset that is under way, or was when the agent stopped. */
export async function finishReset(during: KubeadmMemory, context: StepContext): Promise<KubeadmMemory> {
  const { job } = during;
  if (job === undefined) throw new Error("no reset is under way");
  const ending = await followJob(job, context);
  if (ending.kind === "ended" && ending.end.exitCode !== 0)
    context.say(`kubeadm reset ended with ${ending.end.exitCode ?? ending.end.result}`);
  await cleanUp(during.before, context);
  const { member: _left, before: _known, ...rest } = await forgetJob(during, job, context);
  await context.memory.set(rememberedOf(rest));
  return rest;
}
