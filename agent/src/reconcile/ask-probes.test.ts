import { VirtualClock } from "@drover/lifecycle";
import { Probe } from "@drover/proto";
import { describe, expect, it } from "vitest";
import type { ProbeAnswer, Probes } from "../host/probe-port.ts";
import { askProbes, PATIENCE_MS } from "./ask-probes.ts";

const REFUSED: ProbeAnswer = { isPassed: false, reason: "ConnectionRefused", message: "nothing listens there" };
const probe = (name: string, port: number): Probe => Probe.create({ name, target: { $case: "tcpPort", value: port }, timeoutMs: 1_000 });

/** Each port answers from so many milliseconds on; what was asked when. */
function machine(clock: VirtualClock, from: Readonly<Record<number, number>>) {
  const asked: [number, number][] = [];
  const probes: Probes = {
    http: () => Promise.resolve(REFUSED),
    async tcp(port) {
      asked.push([clock.monotonicMs(), port]);
      return clock.monotonicMs() >= (from[port] ?? Infinity) ? { isPassed: true } : REFUSED;
    },
  };
  return { probes, asked };
}

describe("probes of a plan", () => {
  it("asks what fails again until it answers, and what passed no more", async () => {
    const clock = new VirtualClock();
    const { probes, asked } = machine(clock, { 80: 0, 81: 5_000 });
    const { signal } = new AbortController();
    const told = askProbes([probe("web", 80), probe("api", 81)], { probes, clock, patienceMs: PATIENCE_MS, signal });
    await clock.advance(10_000);
    expect(await told).toEqual([
      { type: "Probe-web", status: "True", reason: "Answered", message: "" },
      { type: "Probe-api", status: "True", reason: "Answered", message: "" },
    ]);
    expect(asked.filter(([, port]) => port === 80)).toHaveLength(1);
    expect(asked.filter(([, port]) => port === 81).map(([atMs]) => atMs)).toEqual([0, 2_000, 4_000, 6_000]);
  });

  it("tells what never answers as failed when its time is over, and in a scan at once", async () => {
    const clock = new VirtualClock();
    const { probes, asked } = machine(clock, {});
    const { signal } = new AbortController();
    const patient = askProbes([probe("api", 81)], { probes, clock, patienceMs: PATIENCE_MS, signal });
    await clock.advance(PATIENCE_MS);
    expect(await patient).toEqual([{ type: "Probe-api", status: "False", reason: "ConnectionRefused", message: "nothing listens there" }]);
    const before = asked.length;
    await askProbes([probe("api", 81)], { probes, clock, patienceMs: 0, signal });
    expect(asked.length).toBe(before + 1);
  });
});
