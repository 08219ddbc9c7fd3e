import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CellMember, type DisruptedCells, disruptedCells, disruptionThreshold } from "./cells.ts";
import { cellsOf } from "./node-cells.ts";

const GRACE_MS = 30_000;
const CALM: DisruptedCells = new Map();

interface Counts {
  readonly heard?: number;
  readonly newly?: number;
  readonly long?: number;
  readonly aside?: number;
}

function rack({ heard = 0, newly = 0, long = 0, aside = 0 }: Counts, cell = "rack 1"): CellMember[] {
  const some = (kind: string, count: number, silenceMs: number, isAside = false): CellMember[] =>
    Array.from({ length: count }, (_, index) => ({ nodeId: `${cell} ${kind}${index}`, cells: [cell], silenceMs, isAside }));
  return [
    ...some("heard", heard, 1_000),
    ...some("newly", newly, 20_000),
    ...some("long", long, 600_000),
    ...some("aside", aside, 20_000, true),
  ];
}

const after = (members: readonly CellMember[], before = CALM, nowMs = 0): DisruptedCells =>
  disruptedCells(before, members, GRACE_MS, nowMs);

describe("a cell", () => {
  it.each<[string, Counts, boolean]>([
    ["nobody silent", { heard: 10 }, false],
    ["two of two", { newly: 2 }, false],
    ["three of four", { heard: 1, newly: 3 }, true],
    ["three of fifteen, which is 20 %", { heard: 12, newly: 3 }, true],
    ["three of sixteen", { heard: 13, newly: 3 }, false],
    ["four of twenty", { heard: 16, newly: 4 }, true],
    ["19 of a hundred", { heard: 81, newly: 19 }, false],
    ["20 of a hundred", { heard: 80, newly: 20 }, true],
    ["two newly, and many that are silent for long", { heard: 3, newly: 2, long: 9 }, false],
    ["three newly of fifteen that count, and many that are silent for long", { heard: 12, newly: 3, long: 90 }, true],
    ["two newly, and many aside", { heard: 3, newly: 2, aside: 9 }, false],
    ["three newly of fifteen that count, and many aside", { heard: 12, newly: 3, aside: 90 }, true],
  ])("with %s", (_case, counts, isDisrupted) => {
    expect(after(rack(counts)).has("rack 1")).toBe(isDisrupted);
  });

  it.each<[number, boolean]>([
    [15_000, false],
    [15_001, true],
    [75_000, true],
    [75_001, false],
  ])("whose nodes have been silent for %d ms", (silenceMs, isDisrupted) => {
    expect(after(rack({ newly: 3 }).map((member) => ({ ...member, silenceMs }))).has("rack 1")).toBe(isDisrupted);
  });

  it("is over when fewer than half the threshold have been silent for one grace, not before", () => {
    const disrupted = after(rack({ heard: 2, newly: 4 }));
    expect(disrupted.get("rack 1")).toMatchObject({ counted: 6 });
    expect(after(rack({ heard: 4, newly: 2 }), disrupted, 600_000).has("rack 1")).toBe(true);
    const calmer = after(rack({ heard: 5, newly: 1 }), disrupted, 600_000);
    expect(after(rack({ heard: 5, newly: 1 }), calmer, 629_999).has("rack 1")).toBe(true);
    expect(after(rack({ heard: 5, newly: 1 }), calmer, 630_000).has("rack 1")).toBe(false);
    const relapsed = after(rack({ heard: 4, newly: 2 }), calmer, 629_999);
    expect(after(rack({ heard: 5, newly: 1 }), relapsed, 630_000).has("rack 1")).toBe(true);
  });

  it("stays disrupted while those that fell stay silent, however long; others that were silent before do not hold it", () => {
    const fell = rack({ heard: 3, newly: 3 });
    let cells = after([...fell, ...rack({ long: 5 })]);
    const dark = fell.map((member) => (member.silenceMs > 15_000 ? { ...member, silenceMs: 86_400_000 } : member));
    for (const nowMs of [60_000, 600_000, 86_400_000]) cells = after([...dark, ...rack({ long: 5 })], cells, nowMs);
    expect([...(cells.get("rack 1")?.fallen ?? [])]).toEqual(["rack 1 newly0", "rack 1 newly1", "rack 1 newly2"]);
    const revoked = dark.map((member) => ({ ...member, isAside: member.silenceMs > 15_000 }));
    cells = after([...revoked, ...rack({ long: 5 })], cells, 86_500_000);
    expect(after([...revoked, ...rack({ long: 5 })], cells, 86_530_000).size).toBe(0);
  });

  it("is over when none of its nodes are left", () => {
    expect(after([], after([], after(rack({ newly: 3 })), 0), GRACE_MS).size).toBe(0);
  });

  it("does not draw in the cells beside it", () => {
    expect([...after([...rack({ newly: 3 }, "rack 1"), ...rack({ heard: 3, newly: 2 }, "rack 2")]).keys()]).toEqual(["rack 1"]);
  });
});

describe("cells", () => {
  const counts = fc.record({ heard: fc.nat(60), newly: fc.nat(20), long: fc.nat(9), aside: fc.nat(9) });

  it("are disrupted exactly from max(3, 20 %) of those that count, in any order of nodes", () => {
    fc.assert(
      fc.property(counts, fc.infiniteStream(fc.nat()), ({ heard, newly, long, aside }, salt) => {
        const shuffled = rack({ heard, newly, long, aside })
          .map((member) => ({ member, key: salt.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ member }) => member);
        const isExpected = newly >= 3 && newly * 5 >= heard + newly;
        expect(after(shuffled).has("rack 1")).toBe(isExpected);
      }),
    );
  });

  it("never let a cell go in the same moment in which as many as disrupt it are newly silent, whatever was before", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(counts, fc.nat(100_000)), { minLength: 1, maxLength: 12 }), (rounds) => {
        let cells = CALM;
        let nowMs = 0;
        for (const [round, passedMs] of rounds) {
          nowMs += passedMs;
          cells = after(rack(round), cells, nowMs);
          const { newly, heard } = round;
          if (newly >= disruptionThreshold(newly + heard + round.long)) expect(cells.has("rack 1")).toBe(true);
        }
      }),
    );
  });

  it("are all calm again one grace after everybody was heard", () => {
    fc.assert(
      fc.property(fc.array(counts, { maxLength: 8 }), (rounds) => {
        let cells = CALM;
        for (const [index, round] of rounds.entries()) cells = after(rack(round), cells, index * 1_000);
        cells = after(rack({ heard: 30 }), cells, 100_000);
        expect(after(rack({ heard: 30 }), cells, 100_000 + GRACE_MS).size).toBe(0);
      }),
    );
  });
});

describe("the cells of a node", () => {
  const labels = { "topology.kubernetes.io/zone": "a", "topology.drover.dev/rack": "7" };

  it.each([
    ["without labels", {}, 10, ["NATS server"]],
    ["with zone and rack", labels, 1_000, ["NATS server", "zone a", "rack a/7"]],
    ["with a rack alone", { "topology.drover.dev/rack": "7" }, 10, ["NATS server", "rack 7"]],
    ["in a large fleet", labels, 1_001, ["NATS server", "zone a", "rack a/7", expect.stringMatching(/^shard \d+$/)]],
  ])("%s", (_case, given, fleetSize, expected) => {
    expect(cellsOf("aaaaaaaaaa", given, fleetSize)).toEqual(expected);
  });
});
