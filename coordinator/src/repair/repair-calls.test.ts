import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Node, Repair } from "@drover/api";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { CreateRepairsRequest } from "@drover/proto";
import { memoryBus } from "../bus/memory-bus.ts";
import { type Coordinator, createCoordinator } from "../coordinator.ts";
import { memorySnapshotStore } from "../ingest/snapshot-store.ts";
import { Refused } from "../refusal.ts";
import { memoryReportLog } from "../reportlog/memory-report-log.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { memoryEvidenceStore } from "./evidence-store.ts";
import { newRepair } from "./records.ts";

const API = { apiVersion: "drover.dev/v1alpha1" };

describe("what operators ask of repairs", () => {
  let ended: AbortController;
  let clock: VirtualClock;
  let store: Store;
  let coordinator: Coordinator;
  const evidence = memoryEvidenceStore();

  beforeEach(async () => {
    clock = new VirtualClock();
    ended = new AbortController();
    store = memoryStore();
    const bus = memoryBus(clock, seededRandom(7));
    coordinator = createCoordinator({
      store,
      bus,
      evidence,
      reportLog: memoryReportLog(),
      snapshotStore: memorySnapshotStore(),
      clock,
      random: seededRandom(1),
      log: silentLog,
    });
    void coordinator.run(ended.signal);
    await clock.advance(100);
    await coordinator.ready;
    for (const name of ["a", "b", "c"]) {
      const record = { nodeId: `id-${name}`, name, enrolledAtMs: 0, natsPublicKey: "U", recoveredSerials: [] };
      const metadata = { name, uid: `id-${name}`, labels: { role: name === "c" ? "db" : "web" }, generation: 1 };
      await store.commit([
        putJson(keys.node(`id-${name}`), record),
        putJson(keys.object("Node", name), { ...API, kind: "Node", metadata, spec: {} }),
      ]);
    }
    await clock.advance(1_000);
  });
  afterEach(async () => {
    ended.abort();
    await clock.advance(1_000);
  });

  const create = (request: Partial<CreateRepairsRequest>, isDryRun = false) =>
    coordinator.operator.repairs.create(CreateRepairsRequest.fromPartial(request), isDryRun, "operator:ann");
  const refusalOf = async (work: Promise<unknown>): Promise<string> => {
    const error: unknown = await work.then(
      () => undefined,
      (failure: unknown) => failure,
    );
    return error instanceof Refused ? `${error.refusal.reason}: ${error.message}` : String(error);
  };
  const stored = (): readonly Repair[] => [...coordinator.catalog.objects("Repair").values()].map(({ value }) => value);
  const audit = async (): Promise<readonly string[]> =>
    (await coordinator.operator.listAudit(10, "", "")).map(({ action, outcome, target }) => `${action} ${outcome} ${target}`);

  it("makes one Repair for each node, with the rungs and units that nobody named, and tells who did", async () => {
    const seen = await create({ nodes: ["a", "id-b", "a"], reason: "containerd hangs" });
    expect(seen.map(({ object }) => object.metadata.name)).toEqual(["a-1", "b-1"]);
    expect(stored()[0]).toMatchObject({
      spec: {
        node: "id-a",
        nodeName: "a",
        rungs: ["RestartUnits", "Reapply", "Repull", "Rejoin", "HandOver"],
        requestedBy: "operator:ann",
      },
      status: { attempts: [] },
    });
    expect(await audit()).toEqual(expect.arrayContaining(["CreateRepair ok Node/a", "CreateRepair ok Node/b"]));
    await clock.advance(2_000);
    expect(stored()[0]?.status).toMatchObject({ phase: "Pending", reason: "NodeUnknown" });
  });

  it("takes a selector only with the right count, and says which it is (I7)", async () => {
    expect(await refusalOf(create({ labelSelector: "role=web" }))).toContain("selects 2 nodes, and no count was confirmed; confirm 2");
    expect(await refusalOf(create({ labelSelector: "role=web", confirmedNodes: 3 }))).toContain("selects 2 nodes, and 3 were confirmed");
    expect(await refusalOf(create({}))).toContain("an empty selector is an error");
    expect(await refusalOf(create({ nodes: ["a"], labelSelector: "role=web", confirmedNodes: 2 }))).toContain("not both");
    expect(await refusalOf(create({ labelSelector: "role=mail", confirmedNodes: 1 }))).toContain("selects no node");
    expect(stored()).toEqual([]);
    expect(await audit()).toContain("CreateRepair refused Node");
    await create({ labelSelector: "role=web", confirmedNodes: 2 });
    expect(stored()).toHaveLength(2);
  });

  it.each([
    [{ nodes: ["a", "x"] }, 'NotFound: there is no Node "x"'],
    [{ nodes: ["a"], rungs: ["Rebot"] }, "did you mean"],
    [{ nodes: ["a"], rungs: ["HandOver", "Reboot"] }, "after HandOver"],
    [{ nodes: ["a"], rungs: ["RestartUnits"], units: ["--now"] }, "is no unit"],
    [{ nodes: ["a"], rungs: ["RestartUnits"], units: ["../x.service"] }, "is no unit"],
    [{ nodes: ["a"], rungs: ["RestartUnits"], units: ["drover-agent.service"] }, "is not restarted by a repair"],
  ] as const)("refuses %j, and begins nothing", async (request, message) => {
    const asked = {
      ...request,
      nodes: [...request.nodes],
      rungs: "rungs" in request ? [...request.rungs] : [],
      units: "units" in request ? [...request.units] : [],
    };
    expect(await refusalOf(create(asked))).toContain(message);
    expect(stored()).toEqual([]);
  });

  it("writes nothing in a dry run, and refuses a node that is under repair", async () => {
    const [seen] = await create({ nodes: ["a"], rungs: ["Reboot"] }, true);
    expect([seen?.object.metadata.name, stored(), await audit()]).toEqual(["a-1", [], []]);
    await create({ nodes: ["a"], rungs: ["Reboot"] });
    expect(await refusalOf(create({ nodes: ["b", "a"] }))).toContain("UnderRepair: node a is under repair already: a-1");
    expect(stored()).toHaveLength(1);
  });

  it("calls a Repair off once, and not when it has ended", async () => {
    await create({ nodes: ["a"], rungs: ["Reboot"] });
    await coordinator.operator.repairs.cancel("a-1", "operator:ann");
    await clock.advance(2_000);
    expect(stored()[0]?.status).toMatchObject({ phase: "Cancelled" });
    expect(await refusalOf(coordinator.operator.repairs.cancel("a-1", "operator:ann"))).toContain("RepairEnded");
    expect(await refusalOf(coordinator.operator.repairs.cancel("nope", "operator:ann"))).toContain("NotFound");
    expect(await audit()).toEqual(
      expect.arrayContaining(["CancelRepair ok Node/a", "EndRepair ok Node/a", "CancelRepair refused Repair/a-1"]),
    );
  });

  it("hands evidence out of the node that it is of, and of no other; a node handed over wants attention", async () => {
    await create({ nodes: ["a"], rungs: ["HandOver"] });
    // It takes no place and changes nothing, so that it may be had of a node that is unknown.
    await clock.advance(200_000);
    const [repair] = stored();
    expect(repair?.status).toMatchObject({ phase: "HandedOver" });
    const id = repair!.status!.attempts[0]!.evidence!;
    const fetch = async (node: string, of: string): Promise<Buffer> => {
      const chunks: Buffer[] = [];
      for await (const chunk of coordinator.operator.repairs.evidence(node, of, "operator:ann", ended.signal)) chunks.push(chunk);
      return Buffer.concat(chunks);
    };
    const tar = gunzipSync(await fetch("id-a", id)).toString();
    expect(["README", "node.json", "health.json", "NeverSeen", "Unreachable"].filter((word) => !tar.includes(word))).toEqual([]);
    expect(await refusalOf(fetch("id-b", id))).toContain("there is no evidence");
    expect(await refusalOf(fetch("id-a", "../../secrets"))).toContain("there is no evidence");
    const node = coordinator.operator.view.see("Node", "a")?.object as Node;
    expect(node.status?.conditions).toContainEqual(expect.objectContaining({ type: "NeedsAttention", reason: "HandedOver" }));
    expect(coordinator.census().repairsByPhase).toEqual(new Map([["HandedOver", 1]]));
  });

  it("deletes Repairs of nodes that are no more", async () => {
    const spec = { node: "id-gone", nodeName: "gone", rungs: ["Reboot" as const], reason: "", requestedBy: "operator:ann" };
    await store.commit([putJson(keys.object("Repair", "gone-1"), newRepair(spec, "gone-1", "u1", new Date(clock.now()).toISOString()))]);
    await clock.advance(12_000);
    expect(stored()).toEqual([]);
  });
});
