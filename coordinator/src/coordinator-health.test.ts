import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { Heartbeat, ReportBatch } from "@drover/proto";
import type { Node, Rollout } from "@drover/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AgentPort } from "./bus/agent-port.ts";
import { memoryBus, type MemoryBus } from "./bus/memory-bus.ts";
import { type Coordinator, createCoordinator } from "./coordinator.ts";
import type { Knock } from "./fleet/tcp-path.ts";
import { memorySnapshotStore } from "./ingest/snapshot-store.ts";
import { memoryReportLog } from "./reportlog/memory-report-log.ts";
import { keys } from "./store/keys.ts";
import { memoryStore } from "./store/memory-store.ts";
import { putJson } from "./store/values.ts";

const API = { apiVersion: "drover.dev/v1alpha1" };
const ZONE_A = ["a0", "a1", "a2", "a3"];
const NAMES = [...ZONE_A, ...Array.from({ length: 16 }, (_, index) => `b${String(index).padStart(2, "0")}`)];
const idOf = (name: string): string => name.padEnd(10, "x");

describe("a fleet of which nodes fall silent", () => {
  let clock: VirtualClock;
  let bus: MemoryBus;
  let coordinator: Coordinator;
  let ended: AbortController;
  let running: Promise<unknown>;
  let silent: Set<string>;
  let knocks: { readonly target: string; readonly knock: Knock }[];
  let ports: Map<string, AgentPort>;

  beforeEach(async () => {
    clock = new VirtualClock();
    bus = memoryBus(clock, seededRandom(7));
    ended = new AbortController();
    silent = new Set();
    knocks = [];
    ports = new Map();
    const store = memoryStore();
    coordinator = createCoordinator({
      store,
      bus,
      reportLog: memoryReportLog(),
      snapshotStore: memorySnapshotStore(),
      clock,
      random: seededRandom(1),
      log: silentLog,
      connectTcp: (address, port) => {
        // b02 lives: only its agent is gone.
        const knock = address === "10.0.0.6" ? "answered" : "silent";
        knocks.push({ target: `${address}:${port}`, knock });
        return Promise.resolve(knock);
      },
    });
    const parts: Promise<unknown>[] = [coordinator.run(ended.signal)];
    await clock.advance(100);
    await coordinator.ready;
    for (const [place, name] of NAMES.entries()) {
      const labels = { role: "web", "topology.kubernetes.io/zone": name.slice(0, 1) };
      const node = { ...API, kind: "Node", metadata: { name, uid: idOf(name), labels, generation: 1 }, spec: {} };
      const record = { nodeId: idOf(name), name, enrolledAtMs: 0, natsPublicKey: "U", recoveredSerials: [] };
      await store.commit([putJson(keys.node(idOf(name)), record, 0), putJson(keys.object("Node", name), node, 0)]);
      const port = bus.agentPort(idOf(name));
      ports.set(name, port);
      parts.push(port.run(ended.signal));
      const facts = { nics: [{ name: "eth0", mac: "", addresses: [`10.0.0.${place}`], speedMbits: 0 }] };
      const event = { atMs: 0, planEpoch: 0, generation: 0, body: { $case: "facts" as const, value: facts } };
      const batch = ReportBatch.fromPartial({ nodeId: idOf(name), outboxEpoch: Buffer.alloc(8, 5), seq: 1, events: [event] });
      port.publishReport(ReportBatch.encode(batch).finish());
    }
    running = Promise.all(parts);
    await apply({ ...API, kind: "NodeProfile", metadata: { name: "web" }, spec: { sysctl: { values: { "net.core.somaxconn": 4096 } } } });
    await pass(60);
  });
  afterEach(async () => {
    ended.abort();
    await clock.advance(1_000);
    await running;
  });

  const apply = async (object: object): Promise<void> => {
    const json = Buffer.from(JSON.stringify(object));
    const applied = await coordinator.operator.resources.apply({ json, expectedResourceVersion: 0, actor: "operator:test" }, false);
    expect(applied).toMatchObject({ ok: true });
  };
  const applySet = (): Promise<void> => {
    const strategy = { maxUnavailable: 5 };
    const spec = { selector: { matchLabels: { role: "web" } }, profile: "web", probePort: 10250, strategy };
    return apply({ ...API, kind: "NodeSet", metadata: { name: "web" }, spec });
  };
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) {
      for (const [name, port] of ports) {
        if (!silent.has(name) && second % 5 === 0)
          port.publishHeartbeat(Heartbeat.encode(Heartbeat.fromPartial({ seq: ++seq, flags: 1 })).finish());
      }
      await clock.advance(1_000);
    }
  };
  let seq = 0;
  const status = (name: string) => (coordinator.operator.view.see("Node", name)!.object as Node).status;
  const health = (name: string): string => `${status(name)?.health} ${status(name)?.healthReason}`;
  const disrupted = (): string[] =>
    NAMES.filter((name) => status(name)?.conditions.some(({ type, status: is }) => type === "CellDisrupted" && is === "True"));
  const moved = (): string[] => [...coordinator.catalog.desired.keys()].map((nodeId) => nodeId.replace(/x+$/, "")).sort();
  const total = (name: string): number | undefined => coordinator.totals()[name]?.value;

  it("freezes the zone where three of four fell, and that zone only, until they are back", async () => {
    for (const name of ["a1", "a2", "a3"]) silent.add(name);
    await pass(20);
    expect(disrupted()).toEqual(ZONE_A);
    expect(total("observer_disrupted_cells")).toBe(1);
    await applySet();
    await pass(2);
    expect(moved()).toEqual(["b00", "b01", "b02", "b03", "b04"]);
    const rollout = coordinator.operator.view.see("Rollout", "web-1")?.object as Rollout;
    expect(rollout.status?.waiting.filter(({ reason }) => reason === "CellDisrupted")).toMatchObject(
      ZONE_A.map((node) => ({ node, message: expect.stringContaining("zone a") as string })),
    );
    await pass(300);
    expect(["a1", "a2", "a3"].map(health)).toEqual(Array(3).fill("unknown CellDisrupted"));
    expect(knocks).toEqual([]);
    silent.clear();
    await pass(40);
    expect(disrupted()).toEqual([]);
    expect(ZONE_A.map(health)).toEqual(Array(4).fill("healthy Beating"));
    expect(total("observer_disrupted_cells")).toBe(0);
  });

  it("calls a node dead that neither beats nor answers, and one that answers not", async () => {
    await applySet();
    silent.add("b01").add("b02");
    await pass(50);
    expect(["b01", "b02", "b03"].map(health)).toEqual(["unhealthy Silent", "unknown SilentButAlive", "healthy Beating"]);
    expect(new Set(knocks.map(({ target }) => target))).toEqual(new Set(["10.0.0.5:10250", "10.0.0.6:10250"]));
    expect([total("observer_suspects"), total("second_path_agreed_total")! > 0, total("second_path_alive_total")! > 0]).toEqual([
      2,
      true,
      true,
    ]);
    silent.clear();
    await pass(10);
    expect(health("b01")).toBe("healthy Beating");
    expect(total("observer_suspects")).toBe(0);
  });

  it("calls nobody dead whose set names no port and who is in no cluster", async () => {
    silent.add("b01");
    await pass(120);
    expect([health("b01"), knocks.length, total("second_path_questions_total")]).toEqual(["unknown Silent", 0, 0]);
  });
});
