/** Whom decide() leaves alone, and when it begins nobody at all. */
import type { FleetNode } from "../model.ts";
import type { Call, Law } from "./law.ts";
import { hasActed, hasFailed, hasGateOpen, isAtWork, isEnforced, isOurs } from "./reading.ts";

function begins(which: (node: FleetNode, call: Call) => boolean): (call: Call) => string | undefined {
  return (call) => {
    const node = call.begun.find((each) => which(each, call));
    return node && `${node.name} is begun`;
  };
}

/** Nobody is begun in such a situation. */
function nobodyWhen(holds: (call: Call) => boolean): (call: Call) => string | undefined {
  return (call) => (call.begun.length > 0 && holds(call) ? `${call.begun.map(({ name }) => name).join(", ")} begun` : undefined);
}

/** Our failures that stand: reported of our own generation, and not asked to be retried. */
function standingFailures({ input, fleet }: Call): readonly FleetNode[] {
  return fleet.filter(
    (node) => isOurs(node, input) && hasFailed(node) && (input.retriedAtMs === undefined || node.desired!.decidedAtMs >= input.retriedAtMs),
  );
}

export const restraintLaws: readonly Law[] = [
  { name: "never begins a node whose health is unknown", broken: begins(({ verdict }) => verdict === "unknown") },
  { name: "never begins a node in a disrupted cell", broken: begins(({ disruption }) => disruption !== undefined) },
  { name: "never begins a node that has an obstacle", broken: begins(({ obstacle }) => obstacle !== undefined) },
  {
    name: "never begins a node that is broken for another reason than our plan",
    broken: begins((node) => node.verdict === "unhealthy" && (node.desired === undefined || (isEnforced(node) && !hasGateOpen(node)))),
  },
  {
    name: "never begins a node that an operator or a repair has taken out",
    broken: begins(({ maintenance }) => maintenance !== undefined && maintenance.owner !== "Rollout"),
  },
  { name: "begins nobody while paused", broken: nobodyWhen(({ input }) => input.isPaused) },
  { name: "begins nobody once aborted", broken: nobodyWhen(({ input }) => input.isAborted) },
  { name: "begins nobody outside the window or in a freeze", broken: nobodyWhen(({ input }) => !input.opening.isOpen) },
  { name: "begins nobody while the set waits for another", broken: nobodyWhen(({ input }) => input.waitsFor !== undefined) },
  {
    name: "begins nobody when more failed than the failure budget bears",
    broken: nobodyWhen((call) => standingFailures(call).length > call.input.strategy.failureBudget),
  },
  {
    name: "begins nobody when any node found more impact than was approved, whatever the failure budget",
    broken: nobodyWhen((call) => standingFailures(call).some(({ observed }) => observed?.reason === "ImpactExceeded")),
  },
  {
    name: "begins nobody when two nodes failed with one new fingerprint, whatever the failure budget",
    broken: nobodyWhen((call) => {
      const seen = new Set<string>();
      return standingFailures(call).some(({ observed }) => {
        const fingerprint = observed!.fingerprint!;
        if (call.input.knownFingerprints.has(fingerprint)) return false;
        const isSecond = seen.has(fingerprint);
        seen.add(fingerprint);
        return isSecond;
      });
    }),
  },
  {
    name: "never gives a node that works on the rollout's own plan another one before its deadline",
    broken: (call) => {
      const again = call.decisions.find((decision) => {
        if (decision.type !== "move") return false;
        const node = call.fleet.find(({ nodeId }) => nodeId === decision.nodeId)!;
        const deadlineAtMs = (node.desired?.decidedAtMs ?? 0) + call.input.strategy.progressDeadlineMs;
        return isOurs(node, call.input) && isAtWork(node) && !hasFailed(node) && call.now < deadlineAtMs;
      });
      return again?.type === "move" ? `${again.name} is moved again` : undefined;
    },
  },
  {
    name: "never moves a node again that failed on the rollout's own plan, unless retry or a rejoin was asked for",
    broken: begins(
      (node, { input }) =>
        isOurs(node, input) &&
        hasFailed(node) &&
        node.desired?.isRejoinDue === false &&
        (input.retriedAtMs === undefined || node.desired.decidedAtMs >= input.retriedAtMs),
    ),
  },
  {
    name: "never moves a node that enforces the revision with nothing against it",
    broken: begins(
      (node, { input }) =>
        isEnforced(node) &&
        node.desired?.revision === input.revision &&
        node.drift === undefined &&
        !node.desired.isRejoinDue &&
        node.gate.state === "passed",
    ),
  },
  {
    name: "gives back what drifted at most once an hour",
    broken: begins(
      (node, { input, now }) =>
        isEnforced(node) &&
        node.desired?.revision === input.revision &&
        node.drift !== undefined &&
        !node.desired.isRejoinDue &&
        node.desired.rollout === input.name &&
        node.desired.enforcedAtMs !== undefined &&
        now - node.desired.decidedAtMs < 3_600_000 &&
        node.gate.state !== "failed" &&
        hasActed(node) &&
        // The first slot after the change itself is no return.
        node.drift.sinceMs < node.desired.decidedAtMs,
    ),
  },
];
