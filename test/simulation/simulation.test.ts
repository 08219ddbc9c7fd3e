import { API_VERSION, type Repair } from "@drover/api";
import { type DesiredNode, keys, type Store } from "@drover/coordinator";
import { describe, expect, it } from "vitest";
import { ailing, calm, RUNTIME_UNIT, stormy, stormyFleet, zoned } from "./scenario.ts";
import { describeFailure, runSimulation, type SimulationOptions } from "./simulation.ts";

/** Everything held, or the test says how to run it again. */
async function passing(options: SimulationOptions) {
  const result = await runSimulation(options);
  expect(result.violations.length === 0 ? "" : describeFailure(options, result)).toBe("");
  return result;
}

describe("a fleet in one process", () => {
  it("of 1,000 agents with faults ends in sync, and the same seed gives the same transcript", { timeout: 300_000 }, async () => {
    const options = { seed: 7, agents: 1_000, scenario: stormyFleet(200) };
    const first = await passing(options);
    const again = await passing(options);
    expect(again.transcript === first.transcript).toBe(true);
    expect(first.transcript.split("\n").length).toBeGreaterThan(40_000);
  });

  it("goes another way with another seed", { timeout: 60_000 }, async () => {
    const [one, same, other] = [1, 1, 2].map((seed) => passing({ seed, agents: 20, scenario: calm(5) }));
    expect((await same)!.transcript === (await one)!.transcript).toBe(true);
    expect((await other)!.transcript === (await one)!.transcript).toBe(false);
  });

  it("goes through every kind of fault and stays within every invariant", { timeout: 120_000 }, async () => {
    const { transcript, stats } = await passing({ seed: 11, agents: 30, scenario: stormy });
    expect(stats.faults).toBeGreaterThan(100);
    for (const sign of [
      "agent killed",
      "machine rebooted",
      "coordinator killed",
      "the bus is away",
      "cut off",
      "net.core.somaxconn set to",
    ]) {
      expect(transcript).toContain(sign);
    }
  });

  it("freezes in zones that fall silent, calls nobody there dead, keeps each zone's budget, and gives drift its slots", {
    timeout: 240_000,
  }, async () => {
    const { transcript } = await passing({ seed: 7, agents: 40, scenario: zoned });
    expect(transcript.match(/zone-\d is silent/g)?.length).toBeGreaterThan(1);
    expect(transcript).toContain("its containerd is configured otherwise");
  });
});

describe("repairs beside rollouts", () => {
  it("of machines whose runtime falls sick keep to their limits, and end, the same way for the same seed", {
    timeout: 240_000,
  }, async () => {
    const options = { seed: 1, agents: 50, scenario: ailing };
    const [{ transcript }, again] = [await passing(options), await passing(options)];
    expect(again.transcript === transcript).toBe(true);
    expect(transcript).toContain("its runtime no longer answers");
    expect(transcript.match(/Succeeded RestartUnits/g)?.length).toBeGreaterThan(5);
  });
});

describe("a breach that is planted is found", () => {
  const run = (tampering: SimulationOptions["tampering"]) =>
    runSimulation({ seed: 3, agents: 12, scenario: calm(2), ...(tampering === undefined ? {} : { tampering }) });
  const broken = async (tampering: SimulationOptions["tampering"]): Promise<ReadonlySet<string>> =>
    new Set((await run(tampering)).violations.map(({ invariant }) => invariant));

  it("and without one nothing is", { timeout: 60_000 }, async () => {
    expect(await broken(undefined)).toEqual(new Set());
  });

  it("when a journal says that a record is durable and it is not", { timeout: 60_000 }, async () => {
    let sequence = 1_000_000;
    const invariants = await broken({
      state: (state) => ({
        ...state,
        openLog: async (name) => {
          const log = await state.openLog(name);
          if (name !== "journal") return log;
          return { ...log, records: log.records, sizeBytes: 0, nextSequence: 1, append: async () => ++sequence };
        },
      }),
    });
    expect(invariants).toContain("persisted first");
  });

  it("when the report log loses what it was given", { timeout: 60_000 }, async () => {
    let pulls = 0;
    const invariants = await broken({
      reportLog: (log) => ({
        ...log,
        append: (pull, atMs) => (++pulls % 10 === 0 ? Promise.resolve(pulls) : log.append(pull, atMs)),
      }),
    });
    expect(invariants).toContain("I5");
  });

  it("when somebody else decides more than the budget allows", { timeout: 60_000 }, async () => {
    const invariants = await broken({
      strike: {
        atMinute: 2.9,
        with: async ({ coordinator, nodes }) => {
          for (const { nodeId } of nodes) await decideAnew(coordinator.store, nodeId, 1);
        },
      },
    });
    expect(invariants).toContain("I3");
  });

  it("when somebody else begins repairs of all nodes at once", { timeout: 60_000 }, async () => {
    const invariants = await broken({
      strike: {
        atMinute: 2,
        with: async ({ coordinator, nodes }) => {
          for (const { nodeId, name } of nodes) await beginRepair(coordinator.store, nodeId, name);
        },
      },
    });
    expect(invariants).toContain("repairs");
  });

  it("when a node is decided an older generation", { timeout: 60_000 }, async () => {
    const invariants = await broken({
      strike: { atMinute: 3.1, with: ({ coordinator, nodes }) => decideAnew(coordinator.store, nodes[0]!.nodeId, -1) },
    });
    expect(invariants).toContain("I2");
  });
});

async function beginRepair(store: Store, nodeId: string, nodeName: string): Promise<void> {
  const attempt = { rung: "RestartUnits", startedAt: "2026-01-01T00:00:00Z", outcome: "Running", message: "" } as const;
  const repair: Repair = {
    apiVersion: API_VERSION,
    kind: "Repair",
    metadata: { name: `${nodeName}-1`, uid: nodeId },
    spec: { node: nodeId, nodeName, rungs: ["RestartUnits"], units: [RUNTIME_UNIT], reason: "planted", requestedBy: "coordinator" },
    status: { phase: "Running", reason: "", message: "", rung: 0, attempts: [attempt] },
  };
  await store.commit([{ type: "put", key: keys.object("Repair", repair.metadata.name), value: Buffer.from(JSON.stringify(repair)) }]);
}

/** What is decided for the node, with another generation. */
async function decideAnew(store: Store, nodeId: string, by: number): Promise<void> {
  const entry = await store.get(keys.desired(nodeId));
  if (entry === undefined) throw new Error(`nothing is decided for ${nodeId} yet`);
  const desired = JSON.parse(Buffer.from(entry.value).toString()) as DesiredNode;
  const value = Buffer.from(JSON.stringify({ ...desired, generation: desired.generation + by }));
  await store.commit([{ type: "put", key: entry.key, value }]);
}
