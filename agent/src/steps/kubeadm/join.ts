/** kubeadm join in a unit of its own: begun, taken up again, and taken back when it fails. */
import { withDeadline } from "@drover/lifecycle";
import type { KubeadmSpec } from "@drover/proto";
import { mergeKubeletPatch } from "../kubelet/merge-patch.ts";
import { type StepContext, StepError } from "../step.ts";
import { followJob, forgetJob, newJob, startJob } from "./job.ts";
import { joinArguments, joinConfiguration } from "./join-config.ts";
import { type BeforeJoin, type Job, type JobFailure, type KubeadmMemory, rememberedOf } from "./memory.ts";
import { findMembership, isOf } from "./observed.ts";
import { joinFailure } from "./output.ts";
import { BOOTSTRAP_FILES, CNI_DIRECTORY, JOIN_CONFIG_PATH, KUBELET_UNIT, PATCHES_DIRECTORY } from "./places.ts";
import { hasKubelet, installedKubeadm, type Kubeadm } from "./programs.ts";
import { finishReset, mustBeSameNode, reset } from "./reset.ts";
import { linkNames } from "./traces.ts";
import { isAtLeast } from "./versions.ts";

const CRI_TIMEOUT_MS = 10_000;

/**
 * Of a machine that is no node. The token is asked for last: it is good for minutes.
 * @throws StepError KubeadmNotInstalled, UnsupportedKubeadm, KubeletNotInstalled, RuntimeNotReady, JoinCredentialUnavailable; why kubeadm failed
 */
export async function join(spec: KubeadmSpec, memory: KubeadmMemory, context: StepContext): Promise<void> {
  const { host, signal } = context;
  const { program, version, api } = await mustBeReady(context);
  await host.units.enable(KUBELET_UNIT, signal);
  const before = await beforeJoin(memory, context);
  const patchesDirectory = (await hasPatches(context)) ? PATCHES_DIRECTORY : undefined;
  const token = await context.credentials.bootstrapToken({ cluster: spec.cluster, generation: context.generation }, signal);
  const { cluster, endpoint, caCertHashes, rejoin, nodeName } = spec;
  const begun = { cluster, endpoint, caCertHashes, rejoin, nodeName };
  const job = { ...(await newJob("join", context)), joining: begun };
  const during: KubeadmMemory = { begun, before, job };
  await context.memory.set(rememberedOf(during));
  await host.files.makeDirectory(JOIN_CONFIG_PATH.slice(0, JOIN_CONFIG_PATH.lastIndexOf("/")), 0o700);
  await host.files.write(JOIN_CONFIG_PATH, joinConfiguration(spec, token.reveal(), { version, api, patchesDirectory }), 0o600);
  await startJob({ job, program, args: joinArguments(spec, JOIN_CONFIG_PATH, api) }, context);
  await finishJoin(spec, during, job, context);
}

/**
 * Whatever can be told without a token.
 * @throws StepError KubeadmNotInstalled, UnsupportedKubeadm, KubeletNotInstalled, RuntimeNotReady
 */
export async function mustBeReady(context: StepContext): Promise<Kubeadm> {
  const kubeadm = await installedKubeadm(context);
  if (!(await hasKubelet(context))) {
    throw new StepError(
      "KubeletNotInstalled",
      "there is no kubelet in /usr/local/bin or /usr/bin: install it, or name it in binaries",
      false,
    );
  }
  await mustAnswer(context);
  return kubeadm;
}

/** What was under way when the agent stopped, to its end. @throws StepError why a join failed, once the machine is clean again */
export async function settle(spec: KubeadmSpec, memory: KubeadmMemory, context: StepContext): Promise<void> {
  const { job } = memory;
  if (job?.kind === "join") return finishJoin(spec, memory, job, context);
  const after = job === undefined ? memory : await finishReset(memory, context);
  if (after.failure !== undefined) await tellFailure(spec, after, context);
}

/** Each part is done again when the agent is killed after it. */
async function finishJoin(spec: KubeadmSpec, memory: KubeadmMemory, job: Job, context: StepContext): Promise<void> {
  const known = job.ended === undefined ? await waitForEnd(memory, job, context) : memory;
  const ended = known.job?.ended;
  await context.host.files.remove(JOIN_CONFIG_PATH);
  if (ended === "failed") return tellFailure(spec, await forgetJob(known, job, context), context);
  const found = await findMembership(context);
  if (found.kind === "node" && job.joining !== undefined && isOf(found.caHash, job.joining.caCertHashes)) {
    await mergeForOldKubeadm(context);
    const { begun: _made, ...rest } = known;
    await forgetJob({ ...rest, member: job.joining }, job, context);
    context.say(`this machine is node ${found.nodeName ?? ""} of cluster ${job.joining.cluster}`);
    return;
  }
  // Lost with a boot, or never started: what it left shows as half a join, which is known as ours. A node of others is nothing of it.
  await forgetJob(found.kind === "node" ? {} : known, job, context);
  if (ended === "succeeded")
    throw new StepError("JoinNotSeen", "kubeadm says that it joined, and the kubelet has no client certificate", true);
}

const UNKNOWN_FAILURE = { reason: "KubeadmFailed", message: "kubeadm join failed, and why is not remembered", isRetryable: true };

/** How it ended is durable before anything is taken away that tells it. */
async function waitForEnd(memory: KubeadmMemory, job: Job, context: StepContext): Promise<KubeadmMemory> {
  const ending = await followJob(job, context);
  const outcome: Partial<KubeadmMemory> =
    ending.kind === "lost"
      ? { job: { ...job, ended: "lost" } }
      : ending.end.exitCode === 0
        ? { job: { ...job, ended: "succeeded" } }
        : { job: { ...job, ended: "failed" }, failure: { ...joinFailure(ending.output, ending.end), ...(await nodeMadeBy(job, context)) } };
  const known = { ...memory, ...outcome };
  await context.memory.set(rememberedOf(known));
  return known;
}

/** A join that failed at its end has made a node all the same. */
async function nodeMadeBy({ joining }: Job, context: StepContext): Promise<Pick<JobFailure, "nodeKey">> {
  const found = await findMembership(context);
  const isOurs = found.kind === "node" && isOf(found.caHash, joining?.caCertHashes ?? []);
  return isOurs && found.nodeKey !== undefined ? { nodeKey: found.nodeKey } : {};
}

/** @throws StepError always */
async function tellFailure(spec: KubeadmSpec, memory: KubeadmMemory, context: StepContext): Promise<never> {
  const failure: JobFailure = memory.failure ?? UNKNOWN_FAILURE;
  let done = "what it had done is taken back";
  // Begun no more: the reset has ended.
  if (memory.begun !== undefined) {
    if (await hasChangedNothing(failure, memory.before, context)) {
      done = "it had changed nothing";
    } else {
      await mustBeSameNode(failure.nodeKey, () => context.memory.set(undefined), context);
      await reset(spec, memory, context);
    }
  }
  await context.memory.set(undefined);
  throw new StepError(failure.reason, `${failure.message}; ${done}`, failure.isRetryable);
}

/** Before discovery has ended kubeadm writes nothing: what is on this machine was there before, and a reset would take it away. */
async function hasChangedNothing({ reason }: JobFailure, before: BeforeJoin | undefined, context: StepContext): Promise<boolean> {
  if (!["PreflightFailed", "KubeadmConfigRefused", "DiscoveryFailed"].includes(reason)) return false;
  return (await clusterFilesOf(context)).every((path) => before?.clusterFiles.includes(path));
}

async function clusterFilesOf({ host }: StepContext): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of BOOTSTRAP_FILES) if ((await host.files.stat(path)) !== undefined) found.push(path);
  return found;
}

async function mustAnswer({ host, clock, signal }: StepContext): Promise<void> {
  let why: string;
  try {
    const status = await withDeadline(clock, "CRI's answer", CRI_TIMEOUT_MS, signal, (inTime) => host.containerd.criStatus(inTime));
    if (status.isReady) return;
    why = status.message;
  } catch (error) {
    signal.throwIfAborted();
    if ((error as { isFatal?: unknown }).isFatal === true) throw error;
    why = (error as Error).message;
  }
  throw new StepError("RuntimeNotReady", `containerd is not ready for pods: ${why}`, true);
}

/** What a cluster left that the machine is no node of any more is not known as the next one's: only its files are looked at anew. */
async function beforeJoin({ begun, before }: KubeadmMemory, context: StepContext): Promise<BeforeJoin> {
  if (before === undefined) return lookAround(context);
  return begun === undefined ? { ...before, clusterFiles: await clusterFilesOf(context) } : before;
}

/** The operator's own CNI configuration and interfaces are told from the cluster's by this. */
async function lookAround(context: StepContext): Promise<BeforeJoin> {
  const { host } = context;
  const cniFiles = await host.files.list(CNI_DIRECTORY);
  return {
    cniFiles,
    clusterFiles: await clusterFilesOf(context),
    links: linkNames((await host.files.read("/proc/net/dev"))?.toString("utf8") ?? ""),
  };
}

async function hasPatches({ host }: StepContext): Promise<boolean> {
  return (await host.files.list(PATCHES_DIRECTORY)).length > 0;
}

/** kubeadm writes config.yaml as the cluster has it; from 1.25 on it patches it itself. */
async function mergeForOldKubeadm(context: StepContext): Promise<void> {
  if (!(await hasPatches(context))) return;
  const { version } = await installedKubeadm(context);
  if (isAtLeast(version, 25) || !(await mergeKubeletPatch(context))) return;
  context.say(`restarting ${KUBELET_UNIT} with the profile's configuration`);
  await context.host.units.restart(KUBELET_UNIT, context.signal);
}
