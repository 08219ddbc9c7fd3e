/**
 * A worker's membership of a cluster: kubeadm joins it in a unit of its own, and takes it out again. What must be done is decided in
 * membership.ts; kubeadm runs by job.ts, and what it leaves is taken away by clean-up.ts.
 */
import { KubeadmSpec } from "@drover/proto";
import { type Step, type StepContext, StepError } from "../step.ts";
import { join, mustBeReady, settle } from "./join.ts";
import { readMemory } from "./memory.ts";
import { joinedCondition, kubeadmChanges, refuseKubeadm, wayTo } from "./membership.ts";
import { type KubeadmObserved, observeKubeadm } from "./observed.ts";
import { JOIN_CONFIG_PATH, KUBELET_UNIT } from "./places.ts";
import { reset } from "./reset.ts";

export const kubeadmStep: Step<"kubeadm", KubeadmObserved> = {
  kind: "kubeadm",
  emptySpec: KubeadmSpec.create(),
  observe: observeKubeadm,
  refuse: refuseKubeadm,
  diff: kubeadmChanges,
  conditions: (spec, observed) => [joinedCondition(spec, observed)],

  async apply(spec, _changes, context) {
    await settle(spec, readMemory(await context.memory.get()), context);
    if ((await context.host.files.stat(JOIN_CONFIG_PATH)) !== undefined) await context.host.files.remove(JOIN_CONFIG_PATH);
    const observed = await observeKubeadm(spec, context);
    const refusal = refuseKubeadm(spec, observed);
    if (refusal !== undefined) throw new StepError(refusal.reason, refusal.message, false);
    await go(spec, observed, context);
  },
};

async function go(spec: KubeadmSpec, observed: KubeadmObserved, context: StepContext): Promise<void> {
  const way = wayTo(spec, observed);
  switch (way.kind) {
    case "nothing":
      if (spec.cluster === "") await context.memory.set(undefined);
      return;
    case "start-kubelet":
      return context.host.units.restart(KUBELET_UNIT, context.signal);
    case "leave":
      await reset(spec, observed.memory, context);
      return context.memory.set(undefined);
    case "rejoin":
      // A node that works is not given up for what can be known beforehand to fail.
      await mustBeReady(context);
      context.say(`leaving the cluster first: ${way.why}`);
      return join(spec, await reset(spec, observed.memory, context), context);
    case "join":
      return join(spec, way.isCleanedFirst ? await reset(spec, observed.memory, context) : observed.memory, context);
  }
}
