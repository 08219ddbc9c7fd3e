import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide } from "./decide.ts";
import { FleetPlay, type PlayOptions } from "./fleet-play.ts";

async function transcript(name: string, play: FleetPlay): Promise<void> {
  await expect(play.text).toMatchFileSnapshot(`transcripts/${name}.txt`);
}

/** Reports and decides until nothing is in change any more. */
function enforceOneByOne(play: FleetPlay): void {
  for (let round = 0; round < 20; round += 1) {
    const moved = play.decide().flatMap((decision) => (decision.type === "move" ? [decision.name] : []));
    if (moved.length === 0) return;
    play.pass(5_000);
    for (const name of moved) play.reports(name, "enforced");
  }
}

describe("a rollout, told as a story", () => {
  it("moves three nodes one by one, in order of name", async () => {
    const play = new FleetPlay(["c", "a", "b"]);
    enforceOneByOne(play);
    await transcript("one-by-one", play);
  });

  it("moves two at a time when two may be unavailable", async () => {
    const play = new FleetPlay(["a", "b", "c", "d", "e"], { maxUnavailable: 2 });
    enforceOneByOne(play);
    await transcript("two-at-a-time", play);
  });

  it("lets a changed node soak before it takes the next", async () => {
    const play = new FleetPlay(["a", "b"], { soakMs: 60_000 });
    play.decide();
    play.pass(5_000);
    play.reports("a", "enforced");
    play.decide();
    play.pass(59_000);
    play.decide();
    play.pass(1_000);
    play.decide();
    play.reports("b", "enforced");
    play.decide();
    play.pass(60_000);
    play.decide();
    await transcript("soak", play);
  });

  it("stops at the first failure, and goes on when the node gets there after all", async () => {
    const play = new FleetPlay(["a", "b"]);
    play.decide();
    play.pass(3_000);
    play.reports("a", "failed", "ContainerdDown", "CRI does not answer");
    play.decide();
    play.pass(30_000);
    play.reports("a", "enforced");
    enforceOneByOne(play);
    await transcript("failure-that-heals", play);
  });

  it("stops on an undone generation, and a corrected profile moves that node first", async () => {
    const play = new FleetPlay(["a", "b"]);
    play.decide();
    play.reports("a", "rejected", "NotConfirmed", "undone at the deadline");
    play.decide();
    play.pass(10_000);
    play.supersede("B");
    enforceOneByOne(play);
    await transcript("corrected-profile", play);
  });

  it("counts a node that takes too long as failed", async () => {
    const play = new FleetPlay(["a", "b"], { progressDeadlineMs: 60_000 });
    play.decide();
    play.pass(59_000);
    play.decide();
    play.pass(1_000);
    play.decide();
    play.supersede("A");
    enforceOneByOne(play);
    await transcript("progress-deadline-and-retry", play);
  });

  it("bears failures within the budget", async () => {
    const play = new FleetPlay(["a", "b", "c", "d"], { maxUnavailable: 2, failureBudget: 1 });
    play.decide();
    play.reports("a", "refused", "PlanExpired", "it came too late");
    play.reports("b", "enforced");
    enforceOneByOne(play);
    await transcript("failure-budget", play);
  });

  it("leaves broken and unknown nodes alone, and counts them", async () => {
    const play = new FleetPlay(["a", "b", "c"], { maxUnavailable: 2 });
    play.becomes("a", "unhealthy", "LeaseStale");
    play.decide();
    play.becomes("c", "unknown", "ObserverUnwell");
    play.reports("b", "enforced");
    play.decide();
    play.becomes("c", "healthy", "Beating");
    enforceOneByOne(play);
    play.becomes("a", "healthy", "Beating");
    enforceOneByOne(play);
    await transcript("broken-nodes", play);
  });

  it("stands still in a disrupted cell, goes on beside it, and keeps what is in change there counted", async () => {
    const play = new FleetPlay(["a", "b", "c", "d"], { maxUnavailable: 2 });
    play.decide();
    play.disrupt("zone 1", ["a", "c"], true);
    play.becomes("a", "unknown", "CellDisrupted");
    play.decide();
    play.reports("b", "enforced");
    play.decide();
    play.pass(60_000);
    play.reports("d", "enforced");
    play.decide();
    play.becomes("a", "healthy", "Beating");
    play.reports("a", "enforced");
    play.decide();
    play.disrupt("zone 1", ["a", "c"], false);
    enforceOneByOne(play);
    await transcript("disrupted-cell", play);
  });

  it("neither retries nor rejoins in a disrupted cell", async () => {
    const play = new FleetPlay(["a", "b"]);
    enforceOneByOne(play);
    play.disrupt("rack 1/7", ["a", "b"], true);
    play.rejoin("a");
    play.decide();
    play.supersede("B");
    play.decide();
    play.disrupt("rack 1/7", ["a", "b"], false);
    enforceOneByOne(play);
    await transcript("disrupted-cell-rejoin", play);
  });

  it("sends nothing to a node whose agent lacks a step kind, and counts it: another agent may come at any moment (I3)", async () => {
    const play = new FleetPlay(["a", "b"]);
    play.decide();
    play.node("a").obstacle = { reason: "Unsupported", message: "its agent cannot do images" };
    play.say("a's agent says hello: it cannot do images");
    play.pass(60_000);
    play.decide();
    play.node("a").obstacle = undefined;
    play.say("a's agent is replaced by one that can");
    play.pass(5_000);
    play.reports("a", "enforced");
    enforceOneByOne(play);
    await transcript("unsupported", play);
  });

  it("gives a node whose agent lacks a step kind a revision that it can do", () => {
    const play = new FleetPlay(["a", "b"]);
    play.decide();
    play.node("a").obstacle = { reason: "Unsupported", message: "its agent cannot do images" };
    play.decide();
    play.supersede("B");
    play.node("a").obstacle = undefined;
    expect(play.decide().flatMap((each) => (each.type === "move" ? [each.name] : []))).toEqual(["a"]);
  });

  it("goes on counting a node at work on what it was given when the next revision cannot be made for it", () => {
    const play = new FleetPlay(["a", "b"]);
    play.decide();
    const moved = (): string[] =>
      decide(play.rollout, play.fleet(), [], play.nowMs).flatMap((each) => (each.type === "move" ? [each.nodeId] : []));
    play.supersede("B");
    play.node("a").obstacle = { reason: "PlanNotPossible", message: "its kubelet does not know that key" };
    expect(moved()).toEqual([]);
    play.node("a").obstacle = { reason: "Unsupported", message: "its agent cannot do kubeadm" };
    play.node("a").observed = { planEpoch: 1, generation: 1, outcome: "accepted", reason: "", message: "", fingerprint: undefined };
    expect(moved()).toEqual([]);
    play.node("a").observed = { planEpoch: 1, generation: 1, outcome: "enforced", reason: "", message: "", fingerprint: undefined };
    expect(moved()).toEqual([play.node("b").nodeId]);
  });

  it("is superseded half way: the node in change is redirected, nobody else joins it", async () => {
    const play = new FleetPlay(["a", "b", "c"]);
    play.decide();
    play.pass(2_000);
    play.supersede("B");
    enforceOneByOne(play);
    await transcript("superseded-half-way", play);
  });

  it("moves nodes that enforce what a restored backup has forgotten one by one, too", async () => {
    const play = new FleetPlay(["a", "b"]);
    enforceOneByOne(play);
    play.say("the store is restored from an old backup; both nodes enforce generation 9");
    for (const node of play.nodes.values()) node.observed = { ...node.observed!, generation: 9 };
    play.supersede("A");
    enforceOneByOne(play);
    await transcript("restored-from-backup", play);
  });

  it("lets nodes join their cluster again one by one: Complete, Progressing, Complete", async () => {
    const play = new FleetPlay(["a", "b", "c"]);
    enforceOneByOne(play);
    play.pass(3_600_000);
    play.rejoin("c");
    play.rejoin("a");
    enforceOneByOne(play);
    await transcript("rejoin", play);
  });

  it("lets a node come to its end, soak and all, before it joins again", async () => {
    const play = new FleetPlay(["a", "b"], { soakMs: 60_000 });
    play.decide();
    play.rejoin("a");
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.pass(60_000);
    play.decide();
    await transcript("rejoin-in-change", play);
  });

  it("lets nobody join again while the rollout is stopped, nor beside a broken node that spends the budget", async () => {
    const play = new FleetPlay(["a", "b", "c"]);
    play.decide();
    play.reports("a", "enforced");
    play.decide();
    play.reports("b", "failed", "JoinFailed", "kubeadm ended with 1");
    play.decide();
    play.rejoin("a");
    play.rejoin("b");
    play.decide();
    play.supersede("A");
    enforceOneByOne(play);
    play.becomes("c", "unhealthy", "LeaseStale");
    play.rejoin("a");
    play.decide();
    play.becomes("c", "healthy", "Beating");
    enforceOneByOne(play);
    await transcript("rejoin-stopped", play);
  });

  it("mends a failure within the failure budget by joining again", async () => {
    const play = new FleetPlay(["a", "b"], { failureBudget: 1 });
    play.decide();
    play.reports("a", "rejected", "JoinFailed", "kubeadm ended with 1");
    play.decide();
    play.rejoin("a");
    enforceOneByOne(play);
    await transcript("rejoin-mends", play);
  });

  it("takes along who joins late", async () => {
    const play = new FleetPlay([]);
    play.decide();
    play.join("a");
    enforceOneByOne(play);
    play.pass(3_600_000);
    play.say("b joins");
    play.join("b");
    enforceOneByOne(play);
    await transcript("late-joiner", play);
  });
});

describe("decide", () => {
  it("gives every node that does not move a reason and a message", () => {
    fc.assert(
      fc.property(stories, ({ options, size, steps }) => {
        const play = new FleetPlay(names(size), options);
        for (const step of steps) {
          act(play, step);
          const decisions = play.decide();
          for (const node of play.nodes.values()) {
            const own = decisions.filter((decision) => "nodeId" in decision && decision.nodeId === node.nodeId);
            const isDone =
              node.desired?.revision === play.rollout.revision &&
              node.observed?.generation === node.desired.generation &&
              !node.desired.isRejoinDue;
            if (own.length === 0) expect(isDone).toBe(true);
            for (const decision of own) if (decision.type === "wait") expect(decision.message).not.toBe("");
          }
        }
      }),
    );
  });

  it("decides the same for the same input in any order of nodes", () => {
    fc.assert(
      fc.property(stories, fc.infiniteStream(fc.nat()), ({ options, size, steps }, salt) => {
        const play = new FleetPlay(names(size), options);
        for (const step of steps) act(play, step);
        const fleet = play.fleet();
        const shuffled = fleet
          .map((node) => ({ node, key: salt.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ node }) => node);
        expect(decide(play.rollout, shuffled, [], play.nowMs)).toEqual(decide(play.rollout, fleet, [], play.nowMs));
      }),
    );
  });

  it("I3: never has more nodes in change than maxUnavailable, whatever the order of reports, with lost commits, repeats and restarts", () => {
    fc.assert(
      fc.property(stories, ({ options, size, steps }) => {
        const play = new FleetPlay(names(size), options);
        for (const step of steps) {
          act(play, step);
          // A coordinator that dies before its commit decides again from the same state: a decision not carried out leaves nothing behind.
          if (step.isLost) decide(play.rollout, play.fleet(), [], play.nowMs);
          else play.decide();
          expect(trulyInChange(play).length).toBeLessThanOrEqual(play.rollout.strategy.maxUnavailable);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("never moves a node whose health is unknown, nor one that is broken for another reason than our plan", () => {
    fc.assert(
      fc.property(stories, ({ options, size, steps }) => {
        const play = new FleetPlay(names(size), options);
        for (const step of steps) {
          act(play, step);
          const before = new Map([...play.nodes.values()].map((node) => [node.name, { ...node }]));
          for (const decision of play.decide()) {
            if (decision.type !== "move") continue;
            const node = before.get(decision.name)!;
            expect(node.verdict).not.toBe("unknown");
            if (node.verdict === "unhealthy") expect(node.desired).toBeDefined();
          }
        }
      }),
    );
  });

  it("never moves a node in a disrupted cell", () => {
    fc.assert(
      fc.property(stories, ({ options, size, steps }) => {
        const play = new FleetPlay(names(size), options);
        for (const step of steps) {
          act(play, step);
          for (const decision of play.decide()) {
            if (decision.type === "move") expect(play.node(decision.name).disruption).toBeUndefined();
          }
        }
      }),
    );
  });

  it("counts in change the same nodes, whether their cell is disrupted or calm", () => {
    const counted = (play: FleetPlay): unknown => {
      const idle = { ...play.rollout, strategy: { ...play.rollout.strategy, maxUnavailable: 0 } };
      const progress = decide(idle, play.fleet(), [], play.nowMs).find(({ type }) => type === "progress");
      return progress?.type === "progress" && [progress.inChange, progress.failed, progress.updated];
    };
    fc.assert(
      fc.property(stories, ({ options, size, steps }) => {
        const play = new FleetPlay(names(size), options);
        for (const step of steps) {
          act(play, step);
          play.decide();
        }
        for (const node of play.nodes.values()) node.disruption = "zone 1 is disrupted";
        // Everything is frozen: nothing is given away that a calm cell would give.
        expect(play.decide().some(({ type }) => type === "move")).toBe(false);
        const frozen = counted(play);
        for (const node of play.nodes.values()) node.disruption = undefined;
        for (const node of play.nodes.values()) node.verdict = "unknown";
        expect(counted(play)).toEqual(frozen);
      }),
    );
  });

  it("ends every rejoin that it is asked for with a new generation, once nothing stands in its way", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat(5), { maxLength: 6 }),
        (size, maxUnavailable, asked) => {
          const play = new FleetPlay(names(size), { maxUnavailable });
          enforceOneByOne(play);
          const chosen = new Set(asked.map((index) => `n${index % size}`));
          for (const name of chosen) play.rejoin(name);
          enforceOneByOne(play);
          for (const { name, desired } of play.nodes.values()) {
            expect(desired).toMatchObject({ generation: chosen.has(name) ? 2 : 1, isRejoinDue: false });
          }
          expect(play.decide().find(({ type }) => type === "progress")).toMatchObject({ phase: "Complete", updated: size });
        },
      ),
    );
  });

  it("ends Complete when every node gets there", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }), (size, maxUnavailable) => {
        const play = new FleetPlay(names(size), { maxUnavailable });
        enforceOneByOne(play);
        expect(play.decide().find((decision) => decision.type === "progress")).toMatchObject({ phase: "Complete", updated: size });
      }),
    );
  });
});

interface StoryStep {
  readonly node: number;
  readonly what:
    | "enforced"
    | "failed"
    | "rejected"
    | "refused"
    | "accepted"
    | "unknown"
    | "unhealthy"
    | "healthy"
    | "supersede"
    | "retry"
    | "rejoin"
    | "disrupted"
    | "calm"
    | "time";
  readonly isLost: boolean;
}

const stories = fc.record({
  size: fc.integer({ min: 1, max: 6 }),
  options: fc.record({
    maxUnavailable: fc.integer({ min: 1, max: 3 }),
    soakMs: fc.constantFrom(0, 30_000),
    failureBudget: fc.integer({ min: 0, max: 2 }),
  }) as fc.Arbitrary<PlayOptions>,
  steps: fc.array(
    fc.record({
      node: fc.nat(5),
      what: fc.constantFrom<StoryStep["what"][]>(
        "enforced",
        "enforced",
        "enforced",
        "failed",
        "rejected",
        "refused",
        "accepted",
        "unknown",
        "unhealthy",
        "healthy",
        "healthy",
        "supersede",
        "retry",
        "rejoin",
        "rejoin",
        "disrupted",
        "calm",
        "time",
      ),
      isLost: fc.boolean(),
    }),
    { maxLength: 40 },
  ),
});

function names(size: number): string[] {
  return Array.from({ length: size }, (_, index) => `n${index}`);
}

function act(play: FleetPlay, { node, what }: StoryStep): void {
  const played = [...play.nodes.values()][node % play.nodes.size]!;
  switch (what) {
    case "unknown":
    case "unhealthy":
    case "healthy":
      return play.becomes(played.name, what, "Told");
    case "disrupted":
    case "calm":
      return play.disrupt("zone 1", [played.name], what === "disrupted");
    case "supersede":
      return play.supersede(play.rollout.revision === "A" ? "B" : "A");
    case "retry":
      return play.supersede(play.rollout.revision);
    case "rejoin":
      return played.desired === undefined ? undefined : play.rejoin(played.name);
    case "time":
      return play.pass(400_000);
    case "enforced":
    case "failed":
    case "rejected":
    case "refused":
    case "accepted":
      // A generation that was enforced, undone or refused has ended: nothing else is reported about it.
      if (played.desired === undefined || hasEnded(played)) return undefined;
      return play.reports(played.name, what);
  }
}

type Played = ReturnType<FleetPlay["node"]>;

function hasEnded({ desired, observed }: Played): boolean {
  const isCurrent = observed?.generation === desired?.generation;
  return isCurrent && (observed?.outcome === "enforced" || observed?.outcome === "rejected" || observed?.outcome === "refused");
}

/** Independent of decide: whoever was given something that has not come to its end. */
function trulyInChange(play: FleetPlay): readonly Played[] {
  return [...play.nodes.values()].filter((node) => node.desired !== undefined && !hasEnded(node));
}
