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

describe("the interval of beats", () => {
  it("keeps the whole fleet at 1,000 a second at most, and grace at three of them", () => {
    expect([1, 1_000, 10_000, 20_000, 100_000].map(heartbeatIntervalMs)).toEqual([10_000, 10_000, 10_000, 20_000, 100_000]);
    expect([10_000, 20_000].map(graceMs)).toEqual([30_000, 60_000]);
  });
});
