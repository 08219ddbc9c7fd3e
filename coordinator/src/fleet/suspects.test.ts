import { silentLog, VirtualClock } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeSecondPath } from "./fake-second-path.ts";
import { allPaths, type Evidence, together } from "./second-path.ts";
import { Suspects } from "./suspects.ts";

const GRACE_MS = 30_000;
const A = "aaaaaaaaaa";

describe("suspects", () => {
  let clock: VirtualClock;
  let path: FakeSecondPath;
  let suspects: Suspects;
  let stop: AbortController;
  let ended: Promise<void>;
  const suspect = (...nodeIds: string[]): void => suspects.suspect(new Set(nodeIds), GRACE_MS);

  beforeEach(() => {
    clock = new VirtualClock();
    path = new FakeSecondPath(clock);
    suspects = new Suspects({ path, clock, log: silentLog });
    stop = new AbortController();
    ended = suspects.run(stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    await ended;
  });

  it.each<[Evidence, string]>([
    ["dead", "agreed"],
    ["alive", "alive"],
    ["none", "pending"],
  ])("that are %s by the second path", async (evidence, opinion) => {
    path.answers.set(A, evidence);
    suspect(A);
    await clock.advance(5_000);
    expect(suspects.opinionOf(A)).toBe("pending");
    await clock.advance(10_000);
    expect(suspects.opinionOf(A)).toBe(opinion);
    expect(suspects.counts).toEqual({ asked: 1, alive: 0, dead: 0, none: 0, [evidence]: 1 });
  });

  it("without a second path are not asked about", async () => {
    path.answers.clear();
    suspect(A);
    await clock.advance(60_000);
    expect([suspects.opinionOf(A), suspects.counts.asked]).toEqual(["none", 0]);
  });

  it("are asked about at most 50 times in any second, whoever has waited longest first", async () => {
    const names = Array.from({ length: 500 }, (_, index) => `n${String(index).padStart(9, "0")}`);
    for (const name of names) path.answers.set(name, "dead");
    suspect(...names);
    await clock.advance(60_000);
    const times = path.asked.map(({ atMs }) => atMs);
    for (const from of times) expect(times.filter((atMs) => atMs >= from && atMs < from + 1_000).length).toBeLessThanOrEqual(50);
    const firsts = path.asked.slice(0, 500).map(({ nodeId }) => nodeId);
    expect(new Set(firsts).size).toBe(500);
    expect(names.every((name) => suspects.opinionOf(name) === "agreed")).toBe(true);
  });

  it("keep their answer while it is renewed, and lose it one grace after the last", async () => {
    path.answers.set(A, "dead");
    suspect(A);
    await clock.advance(15_000);
    for (let second = 0; second < 120; second += 1) {
      expect(suspects.opinionOf(A)).toBe("agreed");
      await clock.advance(1_000);
    }
    path.isHanging = true;
    await clock.advance(GRACE_MS + 16_000);
    expect(suspects.opinionOf(A)).toBe("pending");
  });

  it("are freed of a question that hangs, and asked about again", async () => {
    path.answers.set(A, "dead");
    path.isHanging = true;
    suspect(A);
    await clock.advance(39_000);
    expect(suspects.counts).toMatchObject({ asked: 1, none: 0 });
    path.isHanging = false;
    await clock.advance(40_000);
    expect(suspects.counts).toMatchObject({ none: 1, dead: 1 });
  });

  it("that are heard take every answer about that silence with them, also the one under way", async () => {
    path.answers.set(A, "dead");
    suspect(A);
    await clock.advance(15_000);
    suspect();
    suspect(A);
    expect(suspects.opinionOf(A)).toBe("pending");
    await clock.advance(2_000);
    suspect();
    await clock.advance(1_000);
    expect(path.broken).toBe(1);
    await clock.advance(GRACE_MS);
    suspect(A);
    expect(suspects.opinionOf(A)).toBe("pending");
    expect(suspects.counts).toEqual({ asked: 2, alive: 0, dead: 1, none: 0 });
  });

  it("survive a second path that fails", async () => {
    path.answers.set(A, new Error("broken"));
    suspect(A);
    await clock.advance(15_000);
    expect([suspects.opinionOf(A), suspects.counts.none]).toEqual(["pending", 1]);
  });

  it("end their questions when they end", async () => {
    path.answers.set(A, "dead");
    suspect(A);
    await clock.advance(2_000);
    stop.abort();
    await ended;
    expect(path.broken).toBe(1);
  });
});

describe("several second paths", () => {
  it.each<[Evidence[], Evidence]>([
    [[], "none"],
    [["none", "none"], "none"],
    [["none", "dead"], "dead"],
    [["dead", "dead"], "dead"],
    [["dead", "alive"], "alive"],
    [["alive", "none"], "alive"],
  ])("that say %j together say %s", (evidence, expected) => {
    expect(together(evidence)).toBe(expected);
  });

  it("ask only those that the node has", async () => {
    const clock = new VirtualClock();
    const [one, other] = [new FakeSecondPath(clock), new FakeSecondPath(clock)];
    const both = allPaths([one, other]);
    expect(both.hasPath(A)).toBe(false);
    one.answers.set(A, "dead");
    const answer = both.ask(A, new AbortController().signal);
    await clock.advance(20_000);
    expect([await answer, both.hasPath(A), other.asked.length]).toEqual(["dead", true, 0]);
  });
});
