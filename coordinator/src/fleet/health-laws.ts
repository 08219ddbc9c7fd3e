/** Laws of verdicts and cells: what silence may never lead to, whatever the observer and the node look like. For tests and campaigns. */
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { type CellMember, type DisruptedCells, disruptedCells, disruptionThreshold, suspectAfterMs } from "./cells.ts";
import { graceMs, heartbeatIntervalMs, isObserverWell, type NodeSigns, type ObserverState, verdict } from "./health.ts";

export interface HealthLaw {
  readonly name: string;
  readonly property: fc.IProperty<[Sight]> | fc.IProperty<[Cells]> | fc.IProperty<[number]>;
}

interface Sight {
  readonly observer: ObserverState;
  readonly node: NodeSigns;
}

/** Around every bound that matters, so that one millisecond more or less is drawn often. */
const ms = fc.oneof(
  fc.integer({ min: 0, max: 100_000 }),
  fc.constantFrom(0, 999, 1_000, 1_001, 9_999, 10_000, 10_001, 29_999, 30_000, 30_001, 59_999, 60_000, 60_001),
);
const long = fc.oneof({ weight: 2, arbitrary: fc.integer({ min: 60_001, max: 200_000 }) }, { weight: 1, arbitrary: ms });

const sights: fc.Arbitrary<Sight> = fc.record({
  observer: fc.record({
    graceMs: fc.constantFrom(30_000, 60_000),
    intervalMs: fc.constantFrom(10_000, 20_000),
    loopLagMs: fc.oneof(fc.constant(0), fc.constant(3), ms),
    consumerLagMs: fc.oneof(fc.constant(0), fc.constant(20), ms),
    isRoundTripFine: fc.constantFrom(true, true, true, false),
    steadyMs: long,
  }),
  node: fc.record({
    beatAgeMs: fc.option(fc.oneof(ms, long), { nil: undefined, freq: 8 }),
    brokerSilenceMs: fc.oneof(ms, long),
    ownSilenceMs: fc.oneof(ms, long),
    failure: fc.constantFrom("", "", "", "ReadBackDiffers"),
    cell: fc.constantFrom<NodeSigns["cell"][]>("calm", "calm", "disrupted"),
    secondPath: fc.constantFrom<NodeSigns["secondPath"][]>("none", "pending", "alive", "agreed", "agreed", "agreed"),
  }),
});

/** The four conditions, spelled once more from the protocol and not from the code. */
function isWell({ observer }: Sight): boolean {
  if (observer.loopLagMs >= 1_000) return false;
  if (observer.consumerLagMs >= observer.intervalMs) return false;
  return observer.isRoundTripFine && !(observer.steadyMs < observer.graceMs);
}

function isSilent({ observer, node }: Sight): boolean {
  return node.brokerSilenceMs > observer.graceMs && node.ownSilenceMs > observer.graceMs;
}

function isFresh({ observer, node }: Sight): boolean {
  return node.beatAgeMs !== undefined && node.beatAgeMs <= observer.graceMs && node.brokerSilenceMs <= observer.graceMs;
}

function of(sight: Sight): string {
  const { verdict: given, reason } = verdict(sight.observer, sight.node);
  return `${given} ${reason}`;
}

function seen(name: string, broken: (sight: Sight) => string | false | undefined): HealthLaw {
  const property = fc.property(sights, (sight) => {
    const words = broken(sight);
    if (words !== undefined && words !== false) throw new Error(`${name}: ${words}`);
  });
  return { name, property };
}

const withNode = (sight: Sight, change: Partial<NodeSigns>): Sight => ({ ...sight, node: { ...sight.node, ...change } });

const verdictLaws: readonly HealthLaw[] = [
  seen(
    "never unhealthy by silence without all four: a well observer, silence in both views, a calm cell, a second path that agreed",
    (sight) => {
      const hasAll = isWell(sight) && isSilent(sight) && sight.node.cell === "calm" && sight.node.secondPath === "agreed";
      return of(sight) === "unhealthy Silent" && !hasAll && "unhealthy";
    },
  ),
  seen("unhealthy when all four hold and a beat was seen once: a dead node is called dead", (sight) => {
    const hasAll = isWell(sight) && isSilent(sight) && sight.node.cell === "calm" && sight.node.secondPath === "agreed";
    return hasAll && sight.node.beatAgeMs !== undefined && !of(sight).startsWith("unhealthy") && of(sight);
  }),
  seen(
    "never healthy on a beat older than the grace, in either view",
    (sight) => of(sight).startsWith("healthy") && !isFresh(sight) && of(sight),
  ),
  seen(
    "never healthy while the node itself reports a failure",
    (sight) => sight.node.failure !== "" && of(sight).startsWith("healthy") && of(sight),
  ),
  seen(
    "healthy when it beats and reports nothing broken, however unwell the observer",
    (sight) => isFresh(sight) && sight.node.failure === "" && of(sight) !== "healthy Beating" && of(sight),
  ),
  seen("believes the node's own word when the observer is well, and then only", (sight) => {
    if (sight.node.failure === "") return undefined;
    return (of(sight) === `unhealthy ${sight.node.failure}`) !== isWell(sight) && of(sight);
  }),
  seen("unknown is what was never seen and says nothing of itself", (sight) => {
    const given = of(withNode(sight, { beatAgeMs: undefined, failure: "" }));
    return given !== "unknown NeverSeen" && given;
  }),
  seen("an unwell observer calls nobody unhealthy", (sight) => {
    const unwell: ObserverState[] = [
      { ...sight.observer, loopLagMs: 1_000 },
      { ...sight.observer, consumerLagMs: sight.observer.intervalMs },
      { ...sight.observer, isRoundTripFine: false },
      { ...sight.observer, steadyMs: sight.observer.graceMs - 1 },
    ];
    const wrong = unwell.find((observer) => of({ ...sight, observer }).startsWith("unhealthy"));
    return wrong && JSON.stringify(wrong);
  }),
  seen("an observer that is well at each bound is well", ({ observer }) => {
    const edge = { ...observer, loopLagMs: 999, consumerLagMs: observer.intervalMs - 1, isRoundTripFine: true, steadyMs: observer.graceMs };
    return !isObserverWell(edge) && JSON.stringify(edge);
  }),
  seen("silence in one view alone is no silence", (sight) => {
    const heard = [
      withNode(sight, { brokerSilenceMs: sight.observer.graceMs, failure: "" }),
      withNode(sight, { ownSilenceMs: sight.observer.graceMs, failure: "" }),
    ];
    const wrong = heard.find((each) => of(each).startsWith("unhealthy"));
    return wrong && of(wrong);
  }),
  seen("a disrupted cell is the reason given before a missing second path, and never death", (sight) => {
    const given = of(withNode(sight, { cell: "disrupted", failure: "" }));
    const isDark = isWell(sight) && isSilent(sight) && sight.node.beatAgeMs !== undefined;
    if (given.startsWith("unhealthy")) return given;
    return isDark && given !== "unknown CellDisrupted" && given;
  }),
  seen("a second path that does not agree leaves it unknown, and says whether it is alive", (sight) => {
    const isDark = isWell(sight) && isSilent(sight) && sight.node.beatAgeMs !== undefined && sight.node.cell === "calm";
    if (!isDark) return undefined;
    const given = (["none", "pending", "alive"] as const).map((secondPath) => of(withNode(sight, { secondPath, failure: "" })));
    return given.join() !== "unknown Silent,unknown Silent,unknown SilentButAlive" && given.join();
  }),
  seen("what is unknown because the observer is unwell says so", (sight) => {
    const isBlind = !isWell(sight) && sight.node.beatAgeMs !== undefined && (sight.node.failure !== "" || !isFresh(sight));
    return isBlind && of(sight) !== "unknown ObserverUnwell" && of(sight);
  }),
];

interface Cells {
  readonly members: readonly CellMember[];
  readonly graceMs: number;
}

const members = fc.array(
  fc.record({
    cells: fc.constantFrom<(readonly string[])[]>(["zone a"], ["zone a", "rack 1"], ["zone b"], ["zone b", "rack 1"]),
    silenceMs: fc.constantFrom(0, 1_000, 14_999, 15_000, 15_001, 20_000, 20_000, 74_999, 75_000, 75_001, 600_000),
    isAside: fc.constantFrom(false, false, false, true),
  }),
  { maxLength: 30 },
);
const cells: fc.Arbitrary<Cells> = members.map((given) => ({
  members: given.map((member, index) => ({ ...member, nodeId: `n${index}` })),
  graceMs: 30_000,
}));
const CALM: DisruptedCells = new Map();

function fallen(name: string, broken: (given: Cells, now: DisruptedCells) => string | false | undefined): HealthLaw {
  const property = fc.property(cells, (given) => {
    const words = broken(given, disruptedCells(CALM, given.members, given.graceMs, 0));
    if (words !== undefined && words !== false) throw new Error(`${name}: ${words}`);
  });
  return { name, property };
}

/** Silent for longer than half the grace, and for less than two and a half. */
function isNewlyFallen({ silenceMs, isAside }: CellMember, { graceMs }: Cells): boolean {
  return !isAside && silenceMs > graceMs / 2 && silenceMs <= graceMs * 2.5;
}

function inCell(given: Cells, cell: string): readonly CellMember[] {
  return given.members.filter((member) => !member.isAside && member.cells.includes(cell));
}

const shape = (of: DisruptedCells): unknown =>
  [...of]
    .map(([cell, { fallen, counted, calmSinceMs }]) => [cell, [...fallen].sort(), counted, calmSinceMs])
    .sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1));

const heard = (given: Cells): readonly CellMember[] => given.members.map((member) => ({ ...member, silenceMs: 0 }));

const cellLaws: readonly HealthLaw[] = [
  fallen("a cell is disrupted exactly when three nodes and a fifth of those that count fell newly silent", (given, now) => {
    for (const cell of ["zone a", "zone b", "rack 1"]) {
      const own = inCell(given, cell);
      const fell = own.filter((member) => isNewlyFallen(member, given)).length;
      const counted = own.filter(({ silenceMs }) => silenceMs <= given.graceMs / 2).length + fell;
      if (now.has(cell) !== (fell >= 3 && fell * 5 >= counted))
        return `${cell}: ${fell} of ${counted}, ${now.has(cell) ? "disrupted" : "calm"}`;
      const told = now.get(cell);
      if (told !== undefined && (told.counted !== counted || told.fallen.size !== fell))
        return `${cell}: ${told.fallen.size} of ${told.counted} told`;
    }
    return undefined;
  }),
  fallen("nodes aside count on neither side", (given, now) => {
    const without = disruptedCells(
      CALM,
      given.members.filter(({ isAside }) => !isAside),
      given.graceMs,
      0,
    );
    return !isDeepStrictEqual(shape(now), shape(without)) && "they counted";
  }),
  fallen("the order of nodes makes no difference", (given, now) => {
    const reversed = disruptedCells(CALM, [...given.members].reverse(), given.graceMs, 0);
    return !isDeepStrictEqual(shape(now), shape(reversed)) && "it did";
  }),
  fallen("a disruption outlasts those that are silent for long: time alone ends none", (given, now) => {
    const later = given.members.map((member) => ({ ...member, silenceMs: member.silenceMs > 15_000 ? member.silenceMs + 10_000_000 : 0 }));
    const then = disruptedCells(disruptedCells(now, later, given.graceMs, 1_000_000), later, given.graceMs, 10_000_000);
    const gone = [...now.keys()].find((cell) => !then.has(cell));
    return gone !== undefined && `${gone} is calm`;
  }),
  fallen("a disruption ends one whole grace after its nodes were heard, no sooner", (given, now) => {
    const first = disruptedCells(now, heard(given), given.graceMs, 1_000);
    const before = disruptedCells(first, heard(given), given.graceMs, 1_000 + given.graceMs - 1);
    const after = disruptedCells(before, heard(given), given.graceMs, 1_000 + given.graceMs);
    if (before.size !== now.size) return `${now.size - before.size} ended too soon`;
    return after.size > 0 && `${[...after.keys()].join()} still disrupted`;
  }),
  fallen("calm that is broken begins anew", (given, now) => {
    const first = disruptedCells(now, heard(given), given.graceMs, 1_000);
    const again = disruptedCells(first, given.members, given.graceMs, 20_000);
    const second = disruptedCells(again, heard(given), given.graceMs, 25_000);
    const then = disruptedCells(second, heard(given), given.graceMs, 1_000 + given.graceMs);
    return then.size !== now.size && `${now.size - then.size} ended`;
  }),
  fallen("a held cell is calm only when fewer than half as many as made it are still silent", (given, now) => {
    for (const cell of now.keys()) {
      const own = inCell(given, cell);
      const fell = own.filter((member) => isNewlyFallen(member, given));
      const threshold = disruptionThreshold(own.filter(({ silenceMs }) => silenceMs <= 15_000).length + fell.length);
      for (let back = 0; back <= fell.length; back += 1) {
        const ids = new Set(fell.slice(0, back).map(({ nodeId }) => nodeId));
        const then = given.members.map((member) => (ids.has(member.nodeId) ? { ...member, silenceMs: 0 } : member));
        const isCalming = disruptedCells(now, then, given.graceMs, 5_000).get(cell)?.calmSinceMs !== undefined;
        if (isCalming !== (fell.length - back) * 2 < threshold) return `${cell}: ${fell.length - back} still silent of ${threshold}`;
      }
    }
    return undefined;
  }),
  fallen("a cell whose nodes all went away ends after a grace, too", (given, now) => {
    const first = disruptedCells(now, [], given.graceMs, 1_000);
    if (first.size !== now.size) return "ended at once";
    return disruptedCells(first, [], given.graceMs, 1_000 + given.graceMs).size > 0 && "still disrupted";
  }),
];

const sizeLaws: readonly HealthLaw[] = [
  {
    name: "the whole fleet beats at most 1,000 times a second, nobody oftener than every 10 s, and grace is three beats and 30 s at least",
    property: fc.property(fc.oneof(fc.integer({ min: 0, max: 1_000_000 }), fc.constantFrom(9_999, 10_000, 10_001)), (nodes) => {
      const intervalMs = heartbeatIntervalMs(nodes);
      if (intervalMs !== Math.max(10_000, nodes)) throw new Error(`${nodes} nodes: every ${intervalMs} ms`);
      const grace = graceMs(intervalMs);
      if (grace !== Math.max(30_000, intervalMs * 3)) throw new Error(`grace ${grace} ms`);
    }),
  },
  {
    name: "the threshold is a fifth rounded up, and never below three; suspicion begins at half the grace",
    property: fc.property(fc.integer({ min: 0, max: 100_000 }), (counted) => {
      const threshold = disruptionThreshold(counted);
      if (threshold < 3 || threshold * 5 < counted || (threshold > 3 && (threshold - 1) * 5 >= counted))
        throw new Error(`${threshold} of ${counted}`);
      if (suspectAfterMs(counted) * 2 !== counted) throw new Error(`suspected after ${suspectAfterMs(counted)} of ${counted} ms`);
    }),
  },
];

export const healthLaws: readonly HealthLaw[] = [...verdictLaws, ...cellLaws, ...sizeLaws];
