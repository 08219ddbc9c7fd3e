/** Drains and settling: who is drained first, who is let go, and that nothing of others is touched. */
import type { FleetNode } from "../model.ts";
import type { Call, Law } from "./law.ts";
import { impactRank, isAtWork, isEnforced, isOurs } from "./reading.ts";

function of(call: Call, type: "move" | "drain" | "settle" | "release"): readonly FleetNode[] {
  const ids = new Set(call.decisions.flatMap((decision) => (decision.type === type ? [decision.nodeId] : [])));
  return call.fleet.filter(({ nodeId }) => ids.has(nodeId));
}

function first(nodes: readonly FleetNode[], words: (node: FleetNode) => string | false): string | undefined {
  for (const node of nodes) {
    const said = words(node);
    if (said !== false) return `${node.name}: ${said}`;
  }
  return undefined;
}

const isOwn = ({ maintenance }: FleetNode): boolean => maintenance?.owner === "Rollout";

function needsDrain({ impact, drift, isDrainable, desired }: FleetNode, { input }: Call): boolean {
  const { from } = input.strategy.drain;
  if (from === "never" || !isDrainable) return false;
  const isDriftOnly = desired?.revision === input.revision && drift !== undefined && !desired.isRejoinDue;
  const rank = isDriftOnly ? Math.max(impactRank(drift.impact), impactRank("none")) : impactRank(impact);
  return rank >= impactRank(from);
}

export const maintenanceLaws: readonly Law[] = [
  {
    name: "drains first: whoever would be disturbed enough is moved only when drained",
    broken: (call) =>
      first(of(call, "move"), (node) => {
        const isRedirected = isAtWork(node) || call.input.retriedAtMs !== undefined;
        return needsDrain(node, call) && !isRedirected && node.maintenance?.phase !== "drained" && "moved undrained";
      }),
  },
  {
    name: "drains nobody that is not in a cluster, nor where the strategy never drains",
    broken: (call) =>
      first(
        of(call, "drain"),
        ({ isDrainable }) => (!isDrainable && "not drainable") || (call.input.strategy.drain.from === "never" && "never drains"),
      ),
  },
  {
    name: "gives every drain a deadline to come",
    broken: (call) => {
      const late = call.decisions.find(
        (decision) => decision.type === "drain" && decision.deadlineAtMs !== call.now + call.input.strategy.drain.deadlineMs,
      );
      return late && JSON.stringify(late);
    },
  },
  {
    name: "drains again only what timed out, and not before it is to be revisited",
    broken: (call) =>
      first(of(call, "drain"), ({ maintenance }) => {
        if (maintenance === undefined) return false;
        if (maintenance.phase !== "timedOut") return `is ${maintenance.phase}`;
        return (maintenance.revisitAtMs ?? 0) > call.now && "revisited too soon";
      }),
  },
  {
    name: "releases only what a rollout holds, and only once",
    broken: (call) =>
      first(
        of(call, "release"),
        (node) => (!isOwn(node) && "not a rollout's") || (node.maintenance?.wanted === "release" && "released before"),
      ),
  },
  {
    name: "never releases a node that is at work",
    broken: (call) =>
      first(
        of(call, "release"),
        (node) =>
          isAtWork(node) &&
          isOurs(node, call.input) &&
          node.observed?.outcome === "accepted" &&
          call.now < node.desired!.decidedAtMs + call.input.strategy.progressDeadlineMs &&
          !call.input.isAborted &&
          "at work",
      ),
  },
  {
    name: "always releases what it holds once that enforces the revision and its gates passed, whatever else stops it",
    broken: (call) => {
      const released = new Set(of(call, "release"));
      return first(
        call.fleet,
        (node) =>
          isOwn(node) &&
          node.maintenance?.wanted !== "release" &&
          node.maintenance?.phase === "drained" &&
          isEnforced(node) &&
          isOurs(node, call.input) &&
          node.gate.state === "passed" &&
          node.drift === undefined &&
          !node.desired!.isRejoinDue &&
          !released.has(node) &&
          "held",
      );
    },
  },
  {
    name: "always releases what it holds and never began, once aborted",
    broken: (call) => {
      const released = new Set(of(call, "release"));
      return first(
        call.input.isAborted ? call.fleet : [],
        (node) =>
          isOwn(node) &&
          node.maintenance?.wanted !== "release" &&
          !isAtWork(node) &&
          !(isEnforced(node) && node.gate.state !== "passed") &&
          !released.has(node) &&
          "held after the abort",
      );
    },
  },
  {
    name: "settles only what enforces the newest plan with its gates passed, and is not settled",
    broken: (call) =>
      first(
        of(call, "settle"),
        (node) =>
          (!isEnforced(node) && "not enforced") ||
          (node.gate.state !== "passed" && isOurs(node, call.input) && `gate ${node.gate.state}`) ||
          (node.desired?.enforcedAtMs !== undefined && node.verdict === "healthy" && "settled before"),
      ),
  },
  {
    name: "settles whatever its own plan has brought about, also when paused, aborted, stopped or closed",
    broken: (call) => {
      const settled = new Set(of(call, "settle"));
      return first(
        call.fleet,
        (node) =>
          isEnforced(node) &&
          isOurs(node, call.input) &&
          node.gate.state === "passed" &&
          node.desired?.enforcedAtMs === undefined &&
          !settled.has(node) &&
          "not settled",
      );
    },
  },
];
