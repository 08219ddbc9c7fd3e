import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Rung } from "@drover/api";
import { resolveStrategy } from "../rollout/strategy.ts";
import { decideRepairs } from "./decide-repairs.ts";
import { playedSet, RepairPlay } from "./repair-play.ts";
import { hasEnded, isInFlight } from "./standing.ts";

const RUNS = { numRuns: 1_000 };
const ZONES = ["a", "b", "c"];
const node = fc.record({
  set: fc.constantFrom("web", "db", undefined),
  zone: fc.constantFrom(...ZONES, undefined),
  verdict: fc.constantFrom("healthy", "healthy", "healthy", "unhealthy", "unknown"),
  isDisrupted: fc.boolean(),
  isInChange: fc.constantFrom(false, false, false, true),
  isControlPlane: fc.constantFrom(false, false, false, true),
  isHeld: fc.constantFrom(false, false, false, true),
  minutes: fc.constantFrom(1, 30),
});
type Given = typeof node extends fc.Arbitrary<infer T> ? T : never;
const rungs = fc.constantFrom<Rung[]>(["RestartUnits", "Reboot"], ["Reapply"], ["Reboot"], ["HandOver"], ["Rejoin", "HandOver"]);
const event = fc.oneof(
  fc.record({ is: fc.constant("ask" as const), at: fc.nat(30), rungs }),
  fc.record({
    is: fc.constant("verdict" as const),
    at: fc.nat(30),
    verdict: fc.constantFrom("healthy" as const, "unhealthy" as const, "unknown" as const),
  }),
  fc.record({ is: fc.constant("answer" as const), at: fc.nat(30), isDone: fc.boolean() }),
  fc.record({ is: fc.constant("cancel" as const), at: fc.nat(30) }),
  fc.record({ is: fc.constant("calm" as const), at: fc.nat(30), isCalm: fc.boolean() }),
  fc.record({ is: fc.constant("pass" as const), minutes: fc.constantFrom(1, 11, 70) }),
);
const world = fc.record({
  nodes: fc.array(node, { minLength: 1, maxLength: 16 }),
  maxUnavailable: fc.integer({ min: 1, max: 8 }),
  hasBudgets: fc.boolean(),
  isExclusive: fc.boolean(),
  events: fc.array(event, { maxLength: 25 }),
});
type World = typeof world extends fc.Arbitrary<infer T> ? T : never;

function made({ nodes, maxUnavailable, hasBudgets, isExclusive }: World): RepairPlay {
  const play = new RepairPlay();
  const strategy = resolveStrategy(
    {
      maxUnavailable,
      soak: "0s",
      progressDeadline: "10m",
      failureBudget: 0,
      ...(hasBudgets ? { budgets: [{ topologyKey: "zone", maxUnavailable: 1 }] } : {}),
      ...(isExclusive ? { exclusive: "zone" } : {}),
    },
    nodes.length,
  );
  for (const name of ["web", "db"]) play.sets.set(name, playedSet(name, { cluster: "prod", strategy }));
  play.fleetSize = nodes.length;
  play.nowMs += 60 * 60_000;
  for (const [index, given] of nodes.entries()) join(play, index, given);
  return play;
}

function join(play: RepairPlay, index: number, given: Given): void {
  play.join(`n${String(index).padStart(2, "0")}`, given.set, {
    labels: given.zone === undefined ? {} : { zone: given.zone },
    verdict: given.verdict as "healthy",
    verdictSinceMs: play.nowMs - given.minutes * 60_000,
    disruption: given.isDisrupted && index % 3 === 0 ? "its zone is disrupted" : undefined,
    isInChange: given.isInChange && !given.isControlPlane,
    isUnavailable: (given.isInChange && !given.isControlPlane) || given.verdict !== "healthy",
    rolloutHold: given.isHeld ? "rollout web-1 gave it generation 2" : undefined,
    controlPlaneScope: given.isControlPlane ? "prod" : undefined,
  });
}

function seePlanes(play: RepairPlay): void {
  const members = [...play.nodes.values()]
    .filter(({ controlPlaneScope }) => controlPlaneScope !== undefined)
    .map(({ nodeId, name, verdict }) => ({ nodeId, name, isHealthy: verdict === "healthy" }));
  play.controlPlanes.set("prod", { members });
}

function happen(play: RepairPlay, happened: World["events"][number]): void {
  if (happened.is === "pass") return play.pass(happened.minutes * 60_000);
  const all = [...play.nodes.keys()];
  const name = all[happened.at % all.length]!;
  const open = [...play.repairs.values()].find((repair) => repair.spec.nodeName === name && !hasEnded(repair));
  switch (happened.is) {
    case "ask":
      if (open === undefined) play.ask(name, happened.rungs);
      return;
    case "verdict":
      return play.becomes(name, happened.verdict, "Told");
    case "calm":
      play.node(name).disruption = happened.isCalm ? undefined : "its zone is disrupted";
      return;
    case "cancel":
      if (open !== undefined) play.cancel(open.metadata.name);
      return;
    case "answer": {
      const attempt = open?.status?.attempts.at(-1);
      if (attempt?.outcome === "Running" && attempt.askedAt !== undefined && attempt.doneAt === undefined)
        play.answers(open!.metadata.name, happened.isDone, "said");
    }
  }
}

/** Who is in change: counted here anew, by the input alone. */
function inChange(play: RepairPlay): Set<string> {
  const changing = new Set([...play.nodes.values()].filter((each) => each.isInChange).map(({ nodeId }) => nodeId));
  for (const repair of play.repairs.values()) if (isInFlight(repair)) changing.add(repair.spec.node);
  return changing;
}

/** Plays the world, and calls at each place that is taken, after it. */
function played(
  given: World,
  taken: (play: RepairPlay, name: string, before: Set<string>, isUnasked: boolean) => void,
  each?: (play: RepairPlay) => void,
): RepairPlay {
  const play = made(given);
  const events: World["events"] = [{ is: "pass", minutes: 1 }, ...given.events];
  for (const happened of events) {
    happen(play, happened);
    for (let looks = 0; looks < 20; looks += 1) {
      seePlanes(play);
      let hasChanged = false;
      for (const decision of decideRepairs(play.input, play.nowMs)) {
        const before = inChange(play);
        const isTaking =
          decision.type === "create" || (decision.type === "begin" && play.repairs.get(decision.repair)!.spec.rungs[0] !== "HandOver");
        if (play.carryOut(decision)) hasChanged = true;
        if (isTaking) taken(play, decision.name, before, decision.type === "create");
        each?.(play);
      }
      if (!hasChanged) break;
    }
  }
  return play;
}

const inFlightOf = (play: RepairPlay): readonly string[] => [...play.repairs.values()].filter(isInFlight).map(({ spec }) => spec.node);

describe("decideRepairs, whatever the fleet", () => {
  it("begins nothing on a node that is unknown, in a disrupted cell or in a rollout's hands", () => {
    fc.assert(
      fc.property(world, (given) => {
        played(given, (play, name) => {
          const { verdict, disruption, rolloutHold } = play.node(name);
          expect([verdict === "unknown", disruption, rolloutHold]).toEqual([false, undefined, undefined]);
        });
      }),
      RUNS,
    );
  });

  it("asks no node for a rung while it is unknown or in a disrupted cell", () => {
    fc.assert(
      fc.property(world, (given) => {
        const play = made(given);
        for (const happened of given.events) {
          happen(play, happened);
          seePlanes(play);
          for (const decision of decideRepairs(play.input, play.nowMs)) {
            if (decision.type === "ask")
              expect([play.node(decision.name).verdict === "unknown", play.node(decision.name).disruption]).toEqual([false, undefined]);
            play.carryOut(decision);
          }
        }
      }),
      RUNS,
    );
  });

  it("brings no node into change beyond maxUnavailable, a topology budget or an exclusive value (I3)", () => {
    fc.assert(
      fc.property(world, (given) => {
        played(given, (play, name, before) => {
          const { nodeId, set, labels, isUnavailable } = play.node(name);
          if (set === undefined || before.has(nodeId)) return;
          const { strategy } = play.sets.get(set)!;
          const all = [...play.nodes.values()];
          const counted = (among: typeof all): number =>
            among.filter((other) => other.nodeId !== nodeId && (before.has(other.nodeId) || (!isUnavailable && other.isUnavailable)))
              .length;
          expect(counted(all.filter((other) => other.set === set))).toBeLessThan(strategy.maxUnavailable);
          const around = all.filter((other) => other.set !== undefined);
          if (given.hasBudgets && labels.zone !== undefined)
            expect(counted(around.filter((other) => other.labels.zone === labels.zone))).toBeLessThan(1);
          if (!given.isExclusive || labels.zone === undefined) return;
          const elsewhere = around.filter(
            (other) => before.has(other.nodeId) && other.labels.zone !== undefined && other.labels.zone !== labels.zone,
          );
          expect(elsewhere).toEqual([]);
        });
      }),
      RUNS,
    );
  });

  it("never has two Repairs of one node in flight, nor more than half of the fleet, nor two unasked ones in a failure domain", () => {
    fc.assert(
      fc.property(world, (given) => {
        played(
          given,
          (play, name, _before, isUnasked) => {
            expect(inFlightOf(play).length).toBeLessThanOrEqual(Math.max(1, Math.floor(given.nodes.length / 2)));
            if (!isUnasked) return;
            expect(inFlightOf(play).length).toBeLessThanOrEqual(given.nodes.length / 2);
            const zone = play.node(name).labels.zone;
            const there = [...play.nodes.values()].filter((each) => each.labels.zone === zone && inFlightOf(play).includes(each.nodeId));
            expect(there.map((each) => each.name)).toEqual([name]);
          },
          (play) => expect(new Set(inFlightOf(play)).size).toBe(inFlightOf(play).length),
        );
      }),
      RUNS,
    );
  });

  it("repairs without being asked only what is unhealthy for long enough, in a set of which less than 30 % are", () => {
    fc.assert(
      fc.property(world, (given) => {
        played(given, (play, name, _before, isUnasked) => {
          if (!isUnasked) return;
          const { verdict, verdictSinceMs, set } = play.node(name);
          const own = [...play.nodes.values()].filter((each) => each.set === set);
          const unhealthy = own.filter((each) => each.verdict === "unhealthy").length;
          expect([verdict, play.nowMs - verdictSinceMs >= 600_000, unhealthy < 2 || unhealthy < own.length * 0.3]).toEqual([
            "unhealthy",
            true,
            true,
          ]);
        });
      }),
      RUNS,
    );
  });

  it("costs no cluster its quorum of control planes, and takes them one at a time", () => {
    fc.assert(
      fc.property(world, (given) => {
        played(given, (play, name, before) => {
          const { nodeId, controlPlaneScope } = play.node(name);
          if (controlPlaneScope === undefined) return;
          const planes = [...play.nodes.values()].filter((each) => each.controlPlaneScope !== undefined);
          const others = planes.filter((each) => each.nodeId !== nodeId);
          expect(others.filter((each) => before.has(each.nodeId))).toEqual([]);
          expect(others.filter(({ verdict }) => verdict === "healthy").length).toBeGreaterThanOrEqual(Math.floor(planes.length / 2) + 1);
        });
      }),
      RUNS,
    );
  });

  it("says the same of the same, and of every Repair that has not ended says something", () => {
    fc.assert(
      fc.property(world, (given) => {
        const play = played(given, () => undefined);
        seePlanes(play);
        const decisions = decideRepairs(play.input, play.nowMs);
        expect(decideRepairs(play.input, play.nowMs)).toEqual(decisions);
        const told = new Set(decisions.flatMap((each) => ("repair" in each ? [each.repair] : [])));
        const open = [...play.repairs.values()].filter((repair) => !hasEnded(repair)).map(({ metadata }) => metadata.name);
        expect(open.filter((name) => !told.has(name))).toEqual([]);
      }),
      RUNS,
    );
  });

  it("ends every Repair of a fleet that is left alone", () => {
    fc.assert(
      fc.property(world, (given) => {
        const play = played(given, () => undefined);
        // Rollouts come to their end, cells calm down and verdicts are told; nothing else happens, and nobody answers.
        for (const each of play.nodes.values())
          Object.assign(each, {
            isInChange: false,
            rolloutHold: undefined,
            disruption: undefined,
            verdict: "healthy",
            isUnavailable: false,
            controlPlaneScope: undefined,
          });
        for (const set of play.sets.values()) play.sets.set(set.name, { ...set, remediation: undefined });
        for (let tick = 0; tick < 400 && [...play.repairs.values()].some((repair) => !hasEnded(repair)); tick += 1) {
          play.pass(10 * 60_000);
          play.decide();
        }
        expect(
          [...play.repairs.values()].filter((repair) => !hasEnded(repair)).map(({ metadata, status }) => [metadata.name, status]),
        ).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it("is tried on fleets in which something happens", () => {
    const counts = { taken: 0, unasked: 0, planes: 0, spent: 0 };
    for (const given of fc.sample(world, { numRuns: 500, seed: 7 })) {
      const play = played(given, (at, name, _before, isUnasked) => {
        counts.taken += 1;
        if (isUnasked) counts.unasked += 1;
        if (at.node(name).controlPlaneScope !== undefined) counts.planes += 1;
      });
      for (const decision of decideRepairs(play.input, play.nowMs))
        if (decision.type === "wait" && /Spent|Exclusive|Busy/.test(decision.reason)) counts.spent += 1;
    }
    expect([counts.taken > 100, counts.unasked > 20, counts.planes > 3, counts.spent > 10], JSON.stringify(counts)).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });
});
