/** One call beside another: repeated, shuffled, without memory, after a commit, after half of one. */
import { isDeepStrictEqual } from "node:util";
import type { Decision, FleetNode } from "../model.ts";
import { carriedOut } from "./carried-out.ts";
import { callOf, type Call, type Law } from "./law.ts";
import { limitLaws } from "./limit-laws.ts";
import { isInChange } from "./reading.ts";
import type { Situation } from "./situations.ts";

function differing(a: readonly Decision[], b: readonly Decision[]): string | undefined {
  if (isDeepStrictEqual(a, b)) return undefined;
  const index = a.findIndex((decision, at) => !isDeepStrictEqual(decision, b[at]));
  return `${JSON.stringify(a[index])} became ${JSON.stringify(b[index] ?? b.at(-1))}`;
}

/** The same facts in objects that decide() has never seen. */
function unseen({ input, fleet, elsewhere, now }: Situation): Situation {
  return {
    input: { ...input, strategy: { ...input.strategy } },
    fleet: structuredClone(fleet),
    elsewhere: structuredClone(elsewhere),
    now,
  };
}

function committing(decisions: readonly Decision[]): readonly Decision[] {
  return decisions.filter(({ type }) => type === "move" || type === "drain" || type === "settle" || type === "release");
}

/** An order that depends on the names alone. */
function shuffled(fleet: readonly FleetNode[]): readonly FleetNode[] {
  return [...fleet].sort((a, b) => ((a.name.charCodeAt(1) * 5) % 7) - ((b.name.charCodeAt(1) * 5) % 7) || (a.name < b.name ? 1 : -1));
}

/** Whoever was begun by the first call and is not in change by the second one's record has vanished from the count. */
function uncounted({ begun, input, now }: Call, then: Situation): FleetNode | undefined {
  const ids = new Set(begun.map(({ nodeId }) => nodeId));
  return then.fleet.find((node) => ids.has(node.nodeId) && !isInChange(node, input, now));
}

export const repeatLaws: readonly Law[] = [
  {
    name: "says the same of the same, in whatever order the nodes come",
    broken: (call) =>
      differing(call.decisions, callOf({ ...call, fleet: shuffled(call.fleet), elsewhere: [...call.elsewhere].reverse() }).decisions),
  },
  {
    name: "says the same when asked again",
    broken: (call) => differing(call.decisions, callOf(call).decisions),
  },
  {
    name: "remembers nothing that changes what it says: without memory it says the same",
    broken: (call) => differing(call.decisions, callOf(unseen(call)).decisions),
  },
  {
    name: "after a change of some nodes says what it would say without memory",
    broken: (call) => {
      const then = carriedOut(call, committing(call.decisions));
      const later = {
        ...then,
        now: call.now + 61_000,
        fleet: then.fleet.map((node, index) => (index % 3 === 0 ? { ...node, verdict: "unhealthy" as const } : node)),
      };
      return differing(callOf(later).decisions, callOf(unseen(later)).decisions);
    },
  },
  {
    name: "changes nothing of what it was given",
    broken: ({ input, fleet, elsewhere, now }) => {
      const before = structuredClone(fleet);
      callOf({ input, fleet, elsewhere, now });
      return isDeepStrictEqual(before, fleet) ? undefined : "the fleet was changed";
    },
  },
  {
    name: "takes all that fits at once: asked again after its commit it begins nobody who had waited",
    broken: (call) => {
      const then = callOf(carriedOut(call, committing(call.decisions)));
      const had = new Set(call.begun.map(({ nodeId }) => nodeId));
      const more = then.begun.find(({ nodeId }) => !had.has(nodeId));
      // A node whose maintenance was let go, or that settled with no soak, makes room.
      const madeRoom = call.decisions.some(({ type }) => type === "release" || type === "settle");
      return more !== undefined && !madeRoom ? `${more.name} is begun only now` : undefined;
    },
  },
  {
    name: "settles and releases once: asked again after its commit it does neither again",
    broken: (call) => {
      const then = callOf(carriedOut(call, committing(call.decisions)));
      const again = then.decisions.find(
        (decision) =>
          (decision.type === "settle" || decision.type === "release" || decision.type === "move") &&
          call.decisions.some((before) => before.type === decision.type && before.nodeId === decision.nodeId),
      );
      return again && JSON.stringify(again);
    },
  },
  {
    name: "I3: whoever it began is in change by the record",
    broken: (call) => uncounted(call, carriedOut(call, committing(call.decisions)))?.name,
  },
  {
    name: "I3: killed after any of its decisions, it stays within every limit when it decides again",
    broken: (call) => {
      const all = committing(call.decisions);
      for (let length = 0; length <= all.length; length += 1) {
        const then = callOf(unseen(carriedOut(call, all.slice(0, length))));
        for (const law of limitLaws) {
          const words = law.broken(then);
          if (words !== undefined) return `after ${length} of ${all.length}: ${law.name}: ${words}`;
        }
      }
      return undefined;
    },
  },
  {
    name: "killed after any of its decisions, it begins no others than it had",
    broken: (call) => {
      if (call.decisions.some(({ type }) => type === "release" || type === "settle")) return undefined;
      const all = committing(call.decisions);
      const had = new Set(call.begun.map(({ nodeId }) => nodeId));
      for (let length = 0; length < all.length; length += 1) {
        const other = callOf(carriedOut(call, all.slice(0, length))).begun.find(({ nodeId }) => !had.has(nodeId));
        if (other !== undefined) return `after ${length} of ${all.length} it begins ${other.name}`;
      }
      return undefined;
    },
  },
];
