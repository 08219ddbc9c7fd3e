/** What decide() tells adds up: every node has an answer, the counts are right, and nothing is told twice. */
import type { Decision } from "../model.ts";
import { callOf, type Call, type Law } from "./law.ts";
import { hasFailed, isEnforced, isOurs } from "./reading.ts";

function count<T extends Decision["type"]>({ decisions }: Call, type: T): readonly Extract<Decision, { type: T }>[] {
  return decisions.filter((decision): decision is Extract<Decision, { type: T }> => decision.type === type);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

export const accountLaws: readonly Law[] = [
  {
    name: "tells progress once, and at most one moment to ask again, which is to come",
    broken: (call) => {
      const again = count(call, "askAgain");
      if (count(call, "progress").length !== 1) return `progress ${count(call, "progress").length} times`;
      if (again.length > 1) return `${again.length} moments`;
      return again[0] !== undefined && again[0].atMs <= call.now ? `ask again ${call.now - again[0].atMs} ms ago` : undefined;
    },
  },
  {
    name: "speaks of nodes of the set only, and of each under its name",
    broken: ({ decisions, fleet }) => {
      const names = new Map(fleet.map(({ nodeId, name }) => [nodeId, name]));
      const odd = decisions.find((decision) => "nodeId" in decision && names.get(decision.nodeId) !== decision.name);
      return odd && JSON.stringify(odd);
    },
  },
  {
    name: "says one thing of each node at most: move, drain or wait",
    broken: ({ decisions }) => {
      const seen = new Set<string>();
      for (const decision of decisions) {
        if (decision.type !== "move" && decision.type !== "drain" && decision.type !== "wait") continue;
        if (seen.has(decision.nodeId)) return `${decision.name} twice`;
        seen.add(decision.nodeId);
      }
      return undefined;
    },
  },
  {
    name: "gives every node that neither moves nor enforces the revision a reason in words",
    broken: (call) => {
      const answered = new Set(
        call.decisions.flatMap((decision) =>
          "nodeId" in decision && decision.type !== "settle" && decision.type !== "release" ? [decision.nodeId] : [],
        ),
      );
      const mute = call.fleet.find(
        (node) => !answered.has(node.nodeId) && !(isEnforced(node) && node.desired?.revision === call.input.revision),
      );
      if (mute !== undefined) return `${mute.name} has no answer`;
      const wordless = count(call, "wait").find(({ reason, message }) => reason === "" || message === "");
      return wordless && `${wordless.name} waits without words`;
    },
  },
  {
    name: "counts all nodes, and in its waves each once",
    broken: ({ progress, fleet }) => {
      if (progress.total !== fleet.length) return `total ${progress.total} of ${fleet.length}`;
      const inWaves = sum(progress.waves.map(({ nodes }) => nodes));
      return inWaves === fleet.length ? undefined : `${inWaves} of ${fleet.length} in waves`;
    },
  },
  {
    name: "counts the updated the same over all and over its waves",
    broken: ({ progress }) => {
      const inWaves = sum(progress.waves.map(({ updated }) => updated));
      if (inWaves !== progress.updated) return `${progress.updated} updated, ${inWaves} by waves`;
      return progress.updated > progress.total ? `${progress.updated} updated of ${progress.total}` : undefined;
    },
  },
  {
    name: "never counts as updated what does not enforce the revision",
    broken: ({ progress, fleet, input }) => {
      const most = fleet.filter((node) => isEnforced(node) && node.desired?.revision === input.revision).length;
      return progress.updated > most ? `${progress.updated} updated, ${most} enforce it` : undefined;
    },
  },
  {
    name: "counts whoever was begun as in change",
    broken: ({ progress, begun }) =>
      progress.inChange < begun.length ? `${progress.inChange} in change, ${begun.length} begun` : undefined,
  },
  {
    name: "counts as failed whoever reported that of the rollout's own plan",
    broken: ({ progress, fleet, input }) => {
      const least = fleet.filter(
        (node) => isOurs(node, input) && hasFailed(node) && input.retriedAtMs === undefined && node.obstacle === undefined,
      ).length;
      return progress.failed < least ? `${progress.failed} failed, ${least} reported it` : undefined;
    },
  },
  {
    name: "counts those who wait by reason",
    broken: (call) => {
      const counts: Record<string, number> = {};
      for (const { reason } of count(call, "wait")) counts[reason] = (counts[reason] ?? 0) + 1;
      const told = call.progress.waitingCounts;
      const differing = [...new Set([...Object.keys(counts), ...Object.keys(told)])].find((reason) => counts[reason] !== told[reason]);
      return differing && `${differing}: ${told[differing] ?? 0} told, ${counts[differing] ?? 0} wait`;
    },
  },
  {
    name: "is Complete when every node enforces the revision with its gates passed and its soak over, and not before",
    broken: ({ progress, fleet, input, now }) => {
      const isComplete = progress.phase === "Complete";
      const lagging = fleet.find((node) => !isEnforced(node) || node.desired?.revision !== input.revision);
      if (isComplete && (lagging !== undefined || fleet.length === 0)) return `Complete, ${lagging?.name ?? "with nobody"}`;
      const isQuiet = fleet.every(
        (node) =>
          isEnforced(node) &&
          node.desired?.revision === input.revision &&
          !node.desired.isRejoinDue &&
          node.drift === undefined &&
          node.gate.state === "passed" &&
          node.maintenance === undefined &&
          (node.desired.enforcedAtMs ?? now) + 4_000_000 <= now,
      );
      const isUnhindered = !input.isAborted && !input.isPaused && fleet.length > 0;
      return isQuiet && isUnhindered && !isComplete ? `all enforce it, ${progress.phase} (${progress.reason})` : undefined;
    },
  },
  {
    name: "tells a fingerprint as new unless it was known before, with those who show it",
    broken: ({ progress, input }) => {
      const wrong = progress.fingerprints.find(
        ({ fingerprint, isNew, nodes }) => isNew === input.knownFingerprints.has(fingerprint) || nodes.length === 0,
      );
      return wrong && `${wrong.fingerprint} told as ${wrong.isNew ? "new" : "known"} of ${wrong.nodes.length}`;
    },
  },
  {
    name: "says Paused, Aborted or Stopped rather than Progressing when nobody may begin",
    broken: ({ progress, input, fleet }) => {
      if (fleet.length === 0 || progress.phase === "Complete") return undefined;
      if (input.isAborted) return progress.phase === "Aborted" ? undefined : `aborted, ${progress.phase}`;
      if (input.isPaused) return progress.phase === "Paused" || progress.phase === "Stopped" ? undefined : `paused, ${progress.phase}`;
      return progress.phase === "Aborted" || progress.phase === "Paused" ? progress.phase : undefined;
    },
  },
  {
    name: "is Pending over no nodes at all, and does nothing",
    broken: ({ input, elsewhere, now }) => {
      const { progress, decisions } = callOf({ input, fleet: [], elsewhere, now });
      const told = decisions.filter(({ type }) => type !== "progress" && type !== "askAgain");
      if (told.length > 0) return JSON.stringify(told);
      return progress.phase === "Pending" || input.isAborted || input.isPaused ? undefined : progress.phase;
    },
  },
];
