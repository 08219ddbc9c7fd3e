/** kubeadm reset in a unit of its own, and after it what it leaves behind. */
import type { KubeadmSpec } from "@drover/proto";
import { type StepContext, StepError } from "../step.ts";
import { cleanUp } from "./clean-up.ts";
import { followJob, forgetJob, newJob, startJob } from "./job.ts";
import { resetArguments } from "./join-config.ts";
import { type KubeadmMemory, rememberedOf } from "./memory.ts";
import { findMembership, isControlPlane } from "./observed.ts";
import { installedKubeadm } from "./programs.ts";

/**
 * Begun again when it was interrupted; what was done is not done twice. Whatever kubeadm says, what counts is what is left afterwards.
 * @returns what is remembered then: no membership
 * @throws StepError ControlPlaneNode, KubeadmNotInstalled, NodeAppeared, ResetIncomplete
 */
export async function reset(spec: KubeadmSpec, memory: KubeadmMemory, context: StepContext): Promise<KubeadmMemory> {
  await mustBeNoControlPlane(context);
  const { program, version } = await installedKubeadm(context);
  const found = await findMembership(context);
  const nodeKey = found.kind === "node" ? found.nodeKey : undefined;
  const job = { ...(await newJob("reset", context)), ...(nodeKey === undefined ? {} : { nodeKey }) };
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
  await mustBeNoControlPlane(context);
  await mustBeSameNode(job.nodeKey, async () => void (await forgetJob({}, job, context)), context);
  await cleanUp(during.before, context);
  const { member: _left, begun: _taken, before: _known, ...rest } = await forgetJob(during, job, context);
  await context.memory.set(rememberedOf(rest));
  return rest;
}

async function mustBeNoControlPlane(context: StepContext): Promise<void> {
  if (!(await isControlPlane(context))) return;
  throw new StepError("ControlPlaneNode", "this machine runs a control plane or an etcd, which is never reset by a plan", false);
}

/**
 * Between a failure and the next try somebody may have joined this machine by hand: that node is not ours to take away.
 * @param nodeKey of the node that was there then
 * @throws StepError NodeAppeared, after forget: the next try looks at the machine anew
 */
export async function mustBeSameNode(nodeKey: string | undefined, forget: () => Promise<void>, context: StepContext): Promise<void> {
  const found = await findMembership(context);
  if (found.kind !== "node" || found.nodeKey === nodeKey) return;
  await forget();
  const message = "this machine became a node that Drover did not join, while a failed join or reset was to be cleaned: it stays as it is";
  throw new StepError("NodeAppeared", message, true);
}
