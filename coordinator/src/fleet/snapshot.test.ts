import { createHash } from "node:crypto";
import { serialize } from "node:v8";
import { ConditionStatus, type Event, Facts, ReportBatch } from "@drover/proto";
import { describe, expect, it } from "vitest";
import type { ObservedNode } from "./fleet.ts";
import { FleetState } from "./fleet-state.ts";
import { nothingReported } from "./fold.ts";

const epoch = Buffer.alloc(8, 7);

function report(fleet: FleetState, nodeId: string, seq: number, ...bodies: readonly NonNullable<Event["body"]>[]): void {
  const events = bodies.map((body) => ({ atMs: 5 + seq, planEpoch: 1, generation: 1, body }));
  fleet.foldReport(
    nodeId,
    ReportBatch.decode(ReportBatch.encode(ReportBatch.fromPartial({ nodeId, outboxEpoch: epoch, seq, events })).finish()),
    seq,
    1_000 + seq,
  );
}
const facts = (hostname: string): NonNullable<Event["body"]> => ({
  $case: "facts",
  value: Facts.fromPartial({ hostname, cpus: 4, nics: [{ name: "eth0", addresses: ["10.0.0.1"] }], versions: { containerd: "1.6.20" } }),
});
const condition = (type: string, status: ConditionStatus): NonNullable<Event["body"]> => ({
  $case: "condition",
  value: { type, status, reason: "AsToldHere", message: "", lastTransitionMs: 9 },
});
const shown = (fleet: FleetState): unknown =>
  [...fleet.nodes()].map(
    ({ nodeId, planEpoch, observedGeneration, conditions, facts, images, steps, drift, lastReportUnixMs }: ObservedNode) => {
      return { nodeId, planEpoch, observedGeneration, conditions, facts, images, steps, drift, lastReportUnixMs };
    },
  );

function filled(): FleetState {
  const fleet = new FleetState();
  for (let index = 0; index < 50; index += 1) {
    report(fleet, `node${index}`, 1, facts(`host-${index}`), condition("Sysctl", ConditionStatus.CONDITION_STATUS_TRUE));
  }
  fleet.add("silent");
  fleet.forget("node7");
  return fleet;
}

describe("a fleet's snapshot", () => {
  it("is the same fleet again, into which reports go on where they were, new nodes and forgotten ones too", () => {
    const fleet = filled();
    const before = shown(fleet);
    const bytes = Buffer.concat(fleet.snapshot(42));
    const other = new FleetState();
    other.add("known before");
    expect(other.restore(bytes)).toBe(42);
    other.forget("known before");
    expect(shown(other)).toEqual(before);
    for (const each of [fleet, other]) {
      report(each, "node3", 2, condition("Sysctl", ConditionStatus.CONDITION_STATUS_FALSE));
      report(each, "new", 1, facts("new host"));
      each.forget("node9");
      expect(each.takenOf("node3", epoch.toString("hex"))).toBe(2);
      expect([...each.beats()].find(({ nodeId }) => nodeId === "node3")?.head.brokenBy).toBe("AsToldHere");
    }
    expect(shown(other)).toEqual(shown(fleet));
    const third = new FleetState();
    expect(third.restore(Buffer.concat(other.snapshot(43)))).toBe(43);
    expect(shown(third)).toEqual(shown(fleet));
  });

  it("leaves as they are the nodes that are held packed from then on", () => {
    const fleet = filled();
    const before = shown(fleet);
    for (let round = 0; round < 3; round += 1) {
      fleet.snapshot(round);
      expect(shown(fleet)).toEqual(before);
    }
    report(fleet, "node4", 2, condition("Containerd", ConditionStatus.CONDITION_STATUS_TRUE));
    expect(fleet.node("node4")?.conditions.map(({ type }) => type)).toEqual(["Sysctl", "Containerd"]);
    expect(fleet.node("node4")?.facts?.hostname).toBe("host-4");
  });

  it("of the version before is read, also where a node lacks what was not reported then", () => {
    const { images: _, enforcedAtUnixMs: __, ...older } = { ...nothingReported, planEpoch: 3, observedGeneration: 9 };
    const nodes = [older, { ...nothingReported, facts: Facts.fromPartial({ hostname: "h" }) }].map((reported, index) =>
      serialize({ nodeId: `node${index}`, reported, cursors: [{ epoch: "0a", seq: 5, recentDigests: [1] }], lastReportUnixMs: 77 }),
    );
    const number = (value: number): Buffer => {
      const bytes = Buffer.alloc(6);
      bytes.writeUIntBE(value, 0, 6);
      return bytes;
    };
    const body = Buffer.concat([number(12), ...nodes.flatMap((node) => [number(node.length), node])]);
    const fleet = new FleetState();
    expect(fleet.restore(Buffer.concat([Buffer.from("drover-fleet-2\n"), createHash("sha256").update(body).digest(), body]))).toBe(12);
    expect(fleet.node("node0")).toMatchObject({ planEpoch: 3, observedGeneration: 9, lastReportUnixMs: 77 });
    expect([fleet.node("node0")?.images, fleet.node("node0")?.enforcedAtUnixMs, fleet.takenOf("node1", "0a")]).toEqual([[], 0, 5]);
    expect(fleet.node("node1")?.facts?.hostname).toBe("h");
  });
});
