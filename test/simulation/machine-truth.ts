/** What a node says that it has come to, compared with its machine: what it enforces is there, and what it has undone is not. */
import type { Plan } from "@drover/proto";
import type { FakeHost } from "../../agent/src/fake/index.ts";
import { type Checker, digestsOf, show, specOf, sysctlsOf } from "./invariants.ts";

interface Known {
  readonly plans: Map<string, Plan>;
  enforced: Plan | undefined;
  /** Somebody else has changed the machine since the last plan was accepted: then nothing is compared. */
  hasDrifted: boolean;
}

export const CONTAINERD_CONFIG = "/etc/containerd/config.toml";

export function machineTruth(machineOf: (node: string) => FakeHost): Checker {
  const nodes = new Map<string, Known>();
  const knownOf = (node: string): Known => {
    let known = nodes.get(node);
    if (known === undefined) nodes.set(node, (known = { plans: new Map(), enforced: undefined, hasDrifted: false }));
    return known;
  };
  return {
    name: "what nodes tell",
    see(observation) {
      if (observation.type === "drifted") knownOf(observation.node).hasDrifted = true;
      if (observation.type === "accepted") {
        knownOf(observation.node).hasDrifted = false;
        knownOf(observation.node).plans.set(show(observation), observation.plan);
      }
      if (observation.type !== "ended") return undefined;
      const { node, outcome } = observation;
      const known = knownOf(node);
      const plan = known.plans.get(show(observation));
      if (plan === undefined) return undefined;
      const before = known.enforced;
      if (outcome === "enforced") known.enforced = plan;
      if (known.hasDrifted) return undefined;
      const machine = machineOf(node);
      if (outcome === "enforced") {
        const lacking = whatIsMissing(plan, machine);
        return lacking && `${node} says that it enforces ${show(observation)}, and ${lacking}`;
      }
      const left = outcome.startsWith("rejected") ? whatIsLeft(plan, before, machine) : undefined;
      return left && `${node} says that it has undone ${show(observation)}, and ${left}`;
    },
  };
}

function whatIsMissing(plan: Plan, { kernel, files, containerd }: FakeHost): string | undefined {
  for (const [key, value] of Object.entries(sysctlsOf(plan))) {
    if (kernel.value(key) !== value) return `${key} is ${kernel.value(key)}, not ${value}`;
  }
  const sandboxImage = specOf(plan, "containerd")?.sandboxImage ?? "";
  if (files.text(CONTAINERD_CONFIG)?.includes(sandboxImage) === false) return `containerd does not use ${sandboxImage}`;
  const digest = digestsOf(plan).find((wanted) => !containerd.images.some((image) => image.digest === wanted));
  return digest && `image ${digest} is not there`;
}

function whatIsLeft(plan: Plan, enforced: Plan | undefined, { files }: FakeHost): string | undefined {
  const [tried, was] = [plan, enforced].map((each) => each && specOf(each, "containerd")?.sandboxImage);
  if (tried === undefined || tried === was || files.text(CONTAINERD_CONFIG)?.includes(`${tried}"`) !== true) return undefined;
  return `containerd still uses ${tried}`;
}
