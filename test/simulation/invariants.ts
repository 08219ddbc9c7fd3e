/**
 * The invariants, each as a checker that is shown every observation and says what it breaks. They know nothing of the code that they judge:
 * only what became durable, what was sent, and what was done to machines.
 */
import { canonicalSysctlValue } from "@drover/api";
import type { Plan, SpecOf, StepKind } from "@drover/proto";
import type { Observation, Pair } from "./observations.ts";

export interface Checker {
  readonly name: string;
  /** @returns what is wrong with this; undefined: nothing */
  see(observation: Observation): string | undefined;
  /** What should have happened by now, and has not. */
  look?(): string | undefined;
}

/** I2: (plan epoch, generation) rises strictly on each node, and in what the coordinator decides for it. */
export function risingPairs(): Checker {
  const accepted = new Map<string, Pair>();
  const decided = new Map<string, Pair & { readonly revision: string }>();
  return {
    name: "I2",
    see(observation) {
      if (observation.type === "accepted") {
        const before = accepted.get(observation.node);
        accepted.set(observation.node, observation);
        if (before === undefined || comparePairs(observation, before) > 0) return undefined;
        return `${observation.node} accepted ${show(observation)} after ${show(before)}`;
      }
      if (observation.type !== "decided") return undefined;
      const before = decided.get(observation.node);
      decided.set(observation.node, observation);
      if (before === undefined) return undefined;
      const order = comparePairs(observation, before);
      if (order > 0 || (order === 0 && observation.revision === before.revision)) return undefined;
      return `for ${observation.node} ${show(observation)} was decided after ${show(before)}`;
    },
  };
}

/** I3: a node is in change from the decision until it tells for good, or its journal says, that it is over; never more than the budget at once. */
export function disruptionBudget(maxUnavailable: number): Checker {
  const inChange = new Map<string, Pair>();
  const over = new Map<string, Pair>();
  return {
    name: "I3",
    see(observation) {
      if (observation.type === "decided") {
        const ended = over.get(observation.node);
        // The coordinator writes a decision again when it learns that the node has settled.
        if (ended !== undefined && comparePairs(ended, observation) >= 0) return undefined;
        inChange.set(observation.node, observation);
        if (inChange.size <= maxUnavailable) return undefined;
        return `${inChange.size} nodes are in change, ${maxUnavailable} are allowed: ${[...inChange.keys()].join(", ")}`;
      }
      const { type } = observation;
      if (!(type === "ended" && observation.isOver) && type !== "finished" && type !== "refused") return undefined;
      // An old plan that comes again is refused long after what is over is over.
      const before = over.get(observation.node);
      if (before === undefined || comparePairs(before, observation) < 0) over.set(observation.node, observation);
      const open = inChange.get(observation.node);
      if (open !== undefined && comparePairs(open, observation) <= 0) inChange.delete(observation.node);
      return undefined;
    },
  };
}

/** I3 in each zone: what is in change there, judged as the whole is. @param zoneOf a node's zone */
export function zoneBudget(maxUnavailable: number, zoneOf: (node: string) => string | undefined): Checker {
  const byZone = new Map<string, Checker>();
  return {
    name: "I3 in each zone",
    see(observation) {
      const zone = "node" in observation ? zoneOf(observation.node) : undefined;
      if (zone === undefined) return undefined;
      let checker = byZone.get(zone);
      if (checker === undefined) byZone.set(zone, (checker = disruptionBudget(maxUnavailable)));
      const breach = checker.see(observation);
      return breach === undefined ? undefined : `${zone}: ${breach}`;
    },
  };
}

/** Where many fall silent together nothing more begins: after this long it must have been noticed. */
const NOTICED_AFTER_MS = 60_000;

export function silentZones(nowMs: () => number): Checker {
  const silentSinceMs = new Map<string, number>();
  const decided = new Map<string, Pair>();
  return {
    name: "silent zones",
    see(observation) {
      if (observation.type === "zone") {
        for (const node of observation.nodes) {
          if (observation.isSilent) silentSinceMs.set(node, nowMs());
          else silentSinceMs.delete(node);
        }
        return undefined;
      }
      if (observation.type !== "decided") return undefined;
      const before = decided.get(observation.node);
      decided.set(observation.node, observation);
      const sinceMs = silentSinceMs.get(observation.node);
      const isNew = before === undefined || comparePairs(observation, before) > 0;
      if (!isNew || sinceMs === undefined || nowMs() - sinceMs < NOTICED_AFTER_MS) return undefined;
      return `${observation.node} was moved although its zone has been silent for ${Math.round((nowMs() - sinceMs) / 1000)} s`;
    },
  };
}

/** I5: an ack is sent only for what is in the log, a seq is one report for ever, and a node frees only what was acknowledged. */
export function acknowledgedReports(): Checker {
  const logged = new Map<string, { readonly digests: Map<number, number>; through: number }>();
  const acknowledged = new Map<string, number>();
  return {
    name: "I5",
    see(observation) {
      if (observation.type !== "logged" && observation.type !== "acknowledged" && observation.type !== "freed") return undefined;
      const { type, node, epoch, seq } = observation;
      const outbox = `${node}/${epoch}`;
      if (type === "logged") {
        const known = logged.get(outbox) ?? { digests: new Map<number, number>(), through: 0 };
        logged.set(outbox, known);
        const before = known.digests.get(seq);
        known.digests.set(seq, before ?? observation.digest);
        while (known.digests.has(known.through + 1)) known.through += 1;
        return before === undefined || before === observation.digest ? undefined : `${outbox}/${seq} is in the log with two contents`;
      }
      if (type === "acknowledged") {
        acknowledged.set(outbox, Math.max(seq, acknowledged.get(outbox) ?? 0));
        const through = logged.get(outbox)?.through ?? 0;
        return seq <= through ? undefined : `${outbox} was acknowledged through ${seq}, the log has ${through}`;
      }
      const allowed = acknowledged.get(outbox) ?? 0;
      return seq <= allowed ? undefined : `${outbox} freed through ${seq}, acknowledged was ${allowed}`;
    },
  };
}

/**
 * I2 and I3 on the machine: what is done to it is what a durable plan or a repair says, after the durable intent; drift repair knows the enforced plan only. I4: what
 * was intended may be put back to what the machine had before any plan, or by an earlier one that was confirmed as far as it had come.
 * @param originals sysctls of a machine that nobody has touched
 */
export function persistedFirst(originals: Readonly<Record<string, string>> = {}): Checker {
  const nodes = new Map<string, NodePlans>();
  const plansOf = (node: string): NodePlans => {
    const known = nodes.get(node) ?? {
      accepted: new Map<string, Plan>(),
      enforced: undefined,
      intended: new Map<StepKind, Plan>(),
      everIntended: new Set<Plan>(),
      restartsAsked: new Set<string>(),
      restartsOver: new Set<string>(),
      restartsSpent: 0,
      setByOthers: new Set<string>(),
      isUndoing: false,
    };
    nodes.set(node, known);
    return known;
  };
  return {
    name: "persisted first",
    see(observation) {
      switch (observation.type) {
        case "accepted":
          plansOf(observation.node).accepted.set(show(observation), observation.plan);
          return undefined;
        case "intent": {
          const { accepted, intended, everIntended } = plansOf(observation.node);
          const plan = accepted.get(show(observation));
          if (plan === undefined)
            return `${observation.node} intends ${observation.kind} of ${show(observation)}, which it has not accepted`;
          intended.set(observation.kind, plan);
          everIntended.add(plan);
          return undefined;
        }
        case "ended": {
          const plans = plansOf(observation.node);
          const plan = plans.accepted.get(show(observation));
          if (observation.outcome !== "enforced" || plan === undefined) return undefined;
          plans.enforced = plan;
          // Its intents are spent: from here on only drift repair may touch the machine, until there are new ones.
          for (const [kind, intended] of plans.intended) if (comparePairs(intended, plan) <= 0) plans.intended.delete(kind);
          return undefined;
        }
        case "drifted":
          plansOf(observation.node).setByOthers.add(`${observation.target}=${observation.value}`);
          return undefined;
        case "tried":
          plansOf(observation.node).isUndoing = observation.phase === "undoing";
          return undefined;
        case "untried":
          plansOf(observation.node).isUndoing = false;
          return undefined;
        case "effect":
          return judgeEffect(observation, plansOf(observation.node), originals);
        case "repair": {
          const { restartsAsked, restartsOver } = plansOf(observation.node);
          for (const [index, { rung, askedAt, doneAt, endedAt }] of (observation.repair.status?.attempts ?? []).entries()) {
            if (rung !== "RestartUnits" || askedAt === undefined) continue;
            restartsAsked.add(`${observation.name}/${index}`);
            if (doneAt !== undefined || endedAt !== undefined) restartsOver.add(`${observation.name}/${index}`);
          }
          return undefined;
        }
        case "life": {
          const plans = plansOf(observation.node);
          // An agent that was killed in a restart does not know whether it was done, and does it when it is asked again.
          if (!observation.isRunning) plans.restartsSpent = Math.min(plans.restartsSpent, plans.restartsOver.size);
          return undefined;
        }
        case "acknowledged":
        case "confirmed":
        case "decided":
        case "done":
        case "finished":
        case "freed":
        case "logged":
        case "refused":
        case "rollout":
        case "zone":
          return undefined;
      }
    },
  };
}

interface NodePlans {
  /** By pair. */
  readonly accepted: Map<string, Plan>;
  enforced: Plan | undefined;
  /** Kinds with a durable intent, and the plan it is of: a superseded plan's step still runs to its end. */
  readonly intended: Map<StepKind, Plan>;
  readonly everIntended: Set<Plan>;
  /** Attempts of repairs of which it is durable that the node is asked to restart its units, and how many restarts no plan explains: each is done once. */
  readonly restartsAsked: Set<string>;
  /** Of those, what has ended as far as the coordinator knows. */
  readonly restartsOver: Set<string>;
  restartsSpent: number;
  /** "key=value": what the machine had before a plan may be what somebody else had given it. */
  readonly setByOthers: Set<string>;
  /** What was tried is put back to what was found: that may be of a plan which something newer superseded before its end. */
  isUndoing: boolean;
}

function judgeEffect(
  effect: Extract<Observation, { type: "effect" }>,
  plans: NodePlans,
  originals: Readonly<Record<string, string>>,
): string | undefined {
  const { node, kind, target, value } = effect;
  const allowed = (step: StepKind): readonly Plan[] => [plans.enforced, plans.intended.get(step)].filter((plan) => plan !== undefined);
  const breach = `${node}: ${kind} ${target} is in no plan that was persisted before it`;
  const isAllowed = (): boolean => {
    switch (kind) {
      case "kernel.writeSysctl":
        if (plans.intended.has("sysctl") && (originals[target] === value || plans.setByOthers.has(`${target}=${value}`))) return true;
        return [...(plans.isUndoing ? plans.everIntended : allowed("sysctl"))].some((plan) => sysctlsOf(plan)[target] === value);
      case "containerd.pull":
      case "containerd.putImage":
      case "containerd.importArchive": {
        const digest = /sha256:[0-9a-f]{64}/.exec(`${target} ${value}`)?.[0];
        // What an earlier plan brought loses its pin when it is in no later one.
        const plansOfIt = value.endsWith(" unpinned") ? plans.everIntended : allowed("images");
        return [...plansOfIt].some((plan) => digestsOf(plan).includes(digest ?? ""));
      }
      case "files.write":
      case "files.remove":
        if (target.startsWith("/etc/sysctl.d/")) return allowed("sysctl").length > 0;
        if (target.startsWith("/etc/containerd/certs.d/")) return allowed("containerd").length > 0;
        return plans.intended.has("containerd");
      case "units.restart":
        if (plans.intended.has("containerd")) return true;
        plans.restartsSpent += 1;
        return plans.restartsSpent <= plans.restartsAsked.size;
      default:
        return false;
    }
  };
  return isAllowed() ? undefined : breach;
}

export function sysctlsOf(plan: Plan): Readonly<Record<string, string>> {
  const spec = specOf(plan, "sysctl");
  return Object.fromEntries(Object.entries(spec?.values ?? {}).map(([key, value]) => [key, canonicalSysctlValue(key, value)]));
}

export function digestsOf(plan: Plan): readonly string[] {
  return (specOf(plan, "images")?.images ?? []).map(({ digest }) => digest);
}

export function specOf<K extends StepKind>(plan: Plan, kind: K): SpecOf<K> | undefined {
  return plan.steps.find(({ spec }) => spec?.$case === kind)?.spec?.value as SpecOf<K> | undefined;
}

export function show({ planEpoch, generation }: Pair): string {
  return `(${planEpoch}, ${generation})`;
}

export function comparePairs(a: Pair, b: Pair): number {
  return a.planEpoch - b.planEpoch || a.generation - b.generation;
}
