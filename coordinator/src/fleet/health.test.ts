import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { graceMs, heartbeatIntervalMs, type NodeSigns, type ObserverState, verdict } from "./health.ts";

const well: ObserverState = {
  graceMs: 30_000,
  intervalMs: 10_000,
  loopLagMs: 3,
  consumerLagMs: 20,
  isRoundTripFine: true,
  steadyMs: 60_000,
};
const fresh: NodeSigns = { beatAgeMs: 5_000, brokerSilenceMs: 5_000, ownSilenceMs: 5_000, failure: "", cell: "calm", secondPath: "none" };
const silent: NodeSigns = { ...fresh, beatAgeMs: 40_000, brokerSilenceMs: 40_000, ownSilenceMs: 40_000 };
const dead: NodeSigns = { ...silent, secondPath: "agreed" };

describe("verdict", () => {
  it.each<[string, ObserverState, NodeSigns, string]>([
    ["a node that beats", well, fresh, "healthy Beating"],
    ["a node never seen", well, { ...fresh, beatAgeMs: undefined }, "unknown NeverSeen"],
    ["silence alone", well, silent, "unknown Silent"],
    ["silence that a second path confirms", well, dead, "unhealthy Silent"],
    ["silence that a second path contradicts", well, { ...silent, secondPath: "alive" }, "unknown SilentButAlive"],
    ["silence in a disrupted cell", well, { ...dead, cell: "disrupted" }, "unknown CellDisrupted"],
    ["silence in the broker's view only", well, { ...dead, ownSilenceMs: 1_000 }, "unknown Silent"],
    ["silence in our own view only", well, { ...dead, brokerSilenceMs: 1_000 }, "unknown Silent"],
    ["silence while our loop lags", { ...well, loopLagMs: 1_000 }, dead, "unknown ObserverUnwell"],
    ["silence while our consumer lags", { ...well, consumerLagMs: 10_000 }, dead, "unknown ObserverUnwell"],
    ["silence while NATS answers slowly", { ...well, isRoundTripFine: false }, dead, "unknown ObserverUnwell"],
    ["silence soon after a lapse", { ...well, steadyMs: 29_999 }, dead, "unknown ObserverUnwell"],
    ["a node that reports a failure", well, { ...fresh, failure: "ReadBackDiffers" }, "unhealthy ReadBackDiffers"],
    ["a failure, seen by an unwell observer", { ...well, steadyMs: 0 }, { ...fresh, failure: "X" }, "unknown ObserverUnwell"],
    ["a node that beats, seen soon after our start", { ...well, steadyMs: 0 }, fresh, "healthy Beating"],
  ])("of %s", (_case, observer, node, expected) => {
    const health = verdict(observer, node);
    expect(`${health.verdict} ${health.reason}`).toBe(expected);
  });
});

describe("every verdict", () => {
  const ms = fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.constantFrom(0, 999, 1_000, 9_999, 10_000, 29_999, 30_000, 30_001));
  const observers = fc.record({
    graceMs: fc.constantFrom(30_000, 60_000),
    intervalMs: fc.constantFrom(10_000, 20_000),
    loopLagMs: fc.oneof(fc.constant(0), ms),
    consumerLagMs: fc.oneof(fc.constant(0), ms),
    isRoundTripFine: fc.boolean(),
    steadyMs: ms,
  });
  const nodes = fc.record({
    beatAgeMs: fc.option(ms, { nil: undefined }),
    brokerSilenceMs: ms,
    ownSilenceMs: ms,
    failure: fc.constantFrom("", "", "ReadBackDiffers"),
    cell: fc.constantFrom("calm" as const, "disrupted" as const),
    secondPath: fc.constantFrom("none" as const, "pending" as const, "alive" as const, "agreed" as const, "agreed" as const),
  });

  it("of unhealthy has a well observer, and the node's own word or all of silence, calm cells and a second path that agreed", () => {
    fc.assert(
      fc.property(observers, nodes, (observer, node) => {
        const isWell =
          observer.loopLagMs < 1_000 &&
          observer.consumerLagMs < observer.intervalMs &&
          observer.isRoundTripFine &&
          observer.steadyMs >= observer.graceMs;
        const isSilent = node.beatAgeMs !== undefined && node.brokerSilenceMs > observer.graceMs && node.ownSilenceMs > observer.graceMs;
        const isDead = isSilent && node.cell === "calm" && node.secondPath === "agreed";
        const { verdict: given } = verdict(observer, node);
        if (given === "unhealthy") expect([isWell, node.failure !== "" || isDead]).toEqual([true, true]);
        const isStale = (node.beatAgeMs ?? Infinity) > observer.graceMs || node.brokerSilenceMs > observer.graceMs;
        if (isStale || node.failure !== "") expect(given).not.toBe("healthy");
      }),
      { numRuns: 2_000 },
    );
  });

  it("comes nearer to unhealthy by no doubt: with any of the four taken away nobody is called dead", () => {
    fc.assert(
      fc.property(observers, nodes, (observer, node) => {
        const silentOnly = { ...node, failure: "" };
        const doubts: [ObserverState, NodeSigns][] = [
          [{ ...observer, steadyMs: observer.graceMs - 1 }, silentOnly],
          [observer, { ...silentOnly, brokerSilenceMs: observer.graceMs }],
          [observer, { ...silentOnly, ownSilenceMs: observer.graceMs }],
          [observer, { ...silentOnly, cell: "disrupted" }],
          [observer, { ...silentOnly, secondPath: "pending" }],
          [observer, { ...silentOnly, secondPath: "alive" }],
        ];
        for (const [seen, signs] of doubts) expect(verdict(seen, signs).verdict).not.toBe("unhealthy");
      }),
    );
  });
});

describe("the interval of beats", () => {
  it("keeps the whole fleet at 1,000 a second at most, and grace at three of them", () => {
    expect([1, 1_000, 10_000, 20_000, 100_000].map((nodes) => heartbeatIntervalMs(nodes))).toEqual([
      10_000, 10_000, 10_000, 20_000, 100_000,
    ]);
    const brisk = { shortestIntervalMs: 5_000, perSecond: 10_000 };
    expect([1, 50_000, 100_000].map((nodes) => heartbeatIntervalMs(nodes, brisk))).toEqual([5_000, 5_000, 10_000]);
    expect([10_000, 20_000].map(graceMs)).toEqual([30_000, 60_000]);
  });
});
