import { Plan, type Probe } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { acceptPlan, type AcceptanceRules } from "./accept-plan.ts";
import { applyRecord, emptyJournal, type JournalState } from "./journal-state.ts";

const NODE = "abcdefghij";
const NOW = Date.UTC(2026, 0, 1);

function bytesOf(parts: Partial<Plan>): Buffer {
  return Buffer.from(Plan.encode(Plan.fromPartial({ nodeId: NODE, planEpoch: 1, generation: 1, ...parts })).finish());
}

function rules(state: JournalState, parts: Partial<AcceptanceRules> = {}): AcceptanceRules {
  return { nodeId: NODE, supportedKinds: ["sysctl", "containerd", "images"], nowMs: NOW, ...state, ...parts };
}

const sysctl = (id: string): Plan["steps"][number] => ({ id, spec: { $case: "sysctl", value: { values: {} } } });

function probe(parts: Partial<Probe>): Probe {
  return { name: "healthz", target: { $case: "httpUrl", value: "http://127.0.0.1:10248/healthz" }, timeoutMs: 2_000, ...parts };
}

describe("acceptPlan", () => {
  it.each([
    ["no URL", [probe({ target: { $case: "httpUrl", value: "healthz" } })]],
    ["a URL of a file", [probe({ target: { $case: "httpUrl", value: "file:///etc/shadow" } })]],
    ["port 0", [probe({ target: { $case: "tcpPort", value: 0 } })]],
    ["port 65536", [probe({ target: { $case: "tcpPort", value: 65_536 } })]],
    ["no timeout", [probe({ timeoutMs: 0 })]],
    ["a timeout above a minute", [probe({ timeoutMs: 60_001 })]],
    ["a name that is none", [probe({ name: "a b" })]],
    ["two of one name", [probe({}), probe({})]],
  ])("refuses a probe with %s (I1)", (_what, probes) => {
    expect(acceptPlan(bytesOf({ probes }), rules(emptyJournal))).toMatchObject({ outcome: "refused", reason: "InvalidPlan" });
  });

  it("takes probes at the bounds of what is allowed", () => {
    const port = probe({ name: "port", target: { $case: "tcpPort", value: 65_535 }, timeoutMs: 60_000 });
    expect(acceptPlan(bytesOf({ probes: [probe({ timeoutMs: 1 }), port] }), rules(emptyJournal)).outcome).toBe("accepted");
  });

  it.each([
    [
      "two steps of one id",
      bytesOf({ steps: [sysctl("a"), { id: "a", spec: { $case: "images", value: { images: [] } as never } }] }),
      "InvalidPlan",
    ],
    ["two steps of one kind", bytesOf({ steps: [sysctl("a"), sysctl("b")] }), "InvalidPlan"],
    ["a step id for a path", bytesOf({ steps: [sysctl("../a")] }), "InvalidPlan"],
    ["no generation", bytesOf({ generation: 0 }), "InvalidPlan"],
    ["too many bytes", Buffer.alloc(2 ** 20 + 1), "InvalidPlan"],
    ["an expiry in the past", bytesOf({ expiresAtMs: NOW }), "Expired"],
    ["another node", bytesOf({ nodeId: "bbbbbbbbbb" }), "WrongNode"],
  ])("refuses %s", (_what, bytes, reason) => {
    expect(acceptPlan(bytes, rules(emptyJournal))).toMatchObject({ outcome: "refused", reason });
  });

  it("tells a refusal in a bounded number of words, or its report would not fit through the bus", () => {
    for (const bytes of [bytesOf({ nodeId: "x".repeat(500_000) }), bytesOf({ steps: [sysctl("\u0000".repeat(100_000))] })]) {
      const acceptance = acceptPlan(bytes, rules(emptyJournal));
      expect(acceptance.outcome === "refused" && acceptance.message.length).toBeLessThanOrEqual(1000);
    }
  });

  it("refuses a kind that this agent does not have, and a jump that would lock the node", () => {
    const bytes = bytesOf({ steps: [sysctl("a")] });
    expect(acceptPlan(bytes, rules(emptyJournal, { supportedKinds: ["images"] }))).toMatchObject({ reason: "Unsupported" });
    const state = applyRecord(emptyJournal, { type: "accepted", planEpoch: 1, generation: 1, plan: "" });
    expect(acceptPlan(bytesOf({ generation: 9e12 }), rules(state))).toMatchObject({ reason: "InvalidPlan" });
  });

  it("never tries an undone generation again", () => {
    const bytes = bytesOf({ generation: 3 });
    let state = applyRecord(emptyJournal, { type: "accepted", planEpoch: 1, generation: 3, plan: bytes.toString("base64") });
    state = applyRecord(state, {
      type: "ended",
      planEpoch: 1,
      generation: 3,
      ending: { outcome: "rejected", step: "containerd", reason: "Unconfirmed", message: "" },
    });
    expect(state.rejectedGeneration).toBe(3);
    expect(acceptPlan(bytes, rules(state))).toMatchObject({ outcome: "refused", reason: "OldGeneration" });
    expect(acceptPlan(bytesOf({ generation: 4 }), rules(state))).toMatchObject({ outcome: "accepted" });
  });

  it("I2: whatever the order of arrival, accepted pairs rise strictly", () => {
    const pair = fc.record({
      planEpoch: fc.integer({ min: 1, max: 3 }),
      generation: fc.integer({ min: 1, max: 6 }),
      revision: fc.constantFrom("a", "b"),
    });
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 30 }), (arrivals) => {
        let state = emptyJournal;
        const accepted: number[] = [];
        for (const { planEpoch, generation, revision } of arrivals) {
          const bytes = bytesOf({ planEpoch, generation, revision });
          if (acceptPlan(bytes, rules(state)).outcome !== "accepted") continue;
          accepted.push(planEpoch * 100 + generation);
          state = applyRecord(state, { type: "accepted", planEpoch, generation, plan: bytes.toString("base64") });
        }
        expect(accepted).toEqual([...new Set(accepted)].sort((a, b) => a - b));
      }),
    );
  });

  it("survives any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void acceptPlan(bytes, rules(emptyJournal))),
      { numRuns: 2000 },
    );
  });

  it("survives any flipped bit, and never takes what it changed for another node's or a lower pair's", () => {
    const whole = bytesOf({ generation: 7, steps: [sysctl("a")] });
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const acceptance = acceptPlan(flipped, rules(emptyJournal));
      if (acceptance.outcome === "accepted") expect(acceptance.plan.nodeId).toBe(NODE);
    }
  });
});
