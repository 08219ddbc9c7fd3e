import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { type MaintainNodeRequest, MaintenanceVerb } from "@drover/proto";
import type { AuditEntry, MaintenanceRecord, SlotRecord } from "../records.ts";
import { watchObjects } from "../resources/watch.ts";
import { keys } from "../store/keys.ts";
import { putJson, readJson } from "../store/values.ts";
import { A, A_NODE, B, MaintenanceFixture } from "./maintenance-fixture.ts";
import { operatorMaintenance } from "./operator-maintenance.ts";

const SECOND = 1000;
const { MAINTENANCE_VERB_CORDON: CORDON, MAINTENANCE_VERB_DRAIN: DRAIN, MAINTENANCE_VERB_UNCORDON: UNCORDON } = MaintenanceVerb;
const ACTOR = "operator:ann";
const random = seededRandom(1);

let clock: VirtualClock;
let fixture: MaintenanceFixture;

beforeEach(async () => {
  clock = new VirtualClock();
  fixture = new MaintenanceFixture(clock);
  await fixture.make();
  // The cluster has been listed since its Nodes are there.
  await clock.advance(60 * SECOND);
});
afterEach(() => fixture.stop());

function maintain(verb: MaintenanceVerb, given: Partial<MaintainNodeRequest> = {}): Promise<string> {
  const { catalog, clusters } = fixture.clusters;
  const parts = { store: fixture.store, catalog, clusters: () => clusters, clock, random, log: silentLog };
  return operatorMaintenance(parts).maintain({ node: `name-${A}`, verb, reason: "", deadlineSeconds: 0, ...given }, ACTOR);
}

const refusal = (asked: Promise<string>): Promise<unknown> =>
  asked.then(
    () => undefined,
    (error: unknown) => (error as { refusal: unknown }).refusal,
  );

async function audits(): Promise<AuditEntry[]> {
  return (await fixture.store.list(keys.audits)).entries.map((entry) => readJson(entry) as AuditEntry);
}

const condition = (nodeId = A) => {
  const object = fixture.clusters.view.see("Node", nodeId)?.object;
  return object?.kind === "Node" ? object.status?.conditions.find(({ type }) => type === "Maintenance") : undefined;
};

describe("an operator's drain", () => {
  it("is the record, the cluster's slot and the audit record in one commit; shown as a condition until uncordon ends it", async () => {
    fixture.api.putPod("default/web-1", A_NODE);
    expect(await maintain(DRAIN, { reason: "new disk", deadlineSeconds: 60 })).toBe(A);
    const entries = await Promise.all(
      [keys.maintenance(A), keys.changeSlot("prod"), keys.changeSlot("")].map((key) => fixture.store.get(key)),
    );
    const [entry] = (await fixture.store.list(keys.audits)).entries;
    expect(new Set([...entries, entry].map((each) => each?.revision)).size).toBe(1);
    expect(readJson(entries[1]!) as SlotRecord).toEqual({ by: ACTOR, atMs: clock.now() });
    expect(await audits()).toMatchObject([
      { actor: ACTOR, action: "DrainNode", target: `Node/name-${A}`, outcome: "ok", message: `${A_NODE} in Cluster/prod: new disk` },
    ]);
    await clock.advance(SECOND);
    expect(condition()).toMatchObject({
      status: "True",
      reason: "Draining",
      message: "for operator ann: waits for pod default/web-1 to end",
    });
    fixture.endTerminating();
    await clock.advance(5 * SECOND);
    expect(condition()).toMatchObject({ reason: "Drained", message: "for operator ann" });
    // Nobody else's business, however long: also when the deadline of the drain is long over.
    await clock.advance(3600 * SECOND);
    expect([condition()?.reason, fixture.isCordoned()]).toEqual(["Drained", true]);
    await maintain(UNCORDON);
    await clock.advance(SECOND);
    expect([await fixture.record(), condition(), fixture.isCordoned()]).toEqual([undefined, undefined, false]);
    expect((await audits()).map(({ action }) => action)).toEqual(["DrainNode", "UncordonNode"]);
  });

  it("that timed out is tried again only when an operator asks", async () => {
    fixture.api.putPod("default/web-1", A_NODE);
    fixture.api.held.set("default/web-1", { outcome: "held", budget: "web", message: "none" });
    await maintain(DRAIN, { deadlineSeconds: 60 });
    await clock.advance(61 * SECOND);
    const record = await fixture.record();
    expect(record).toMatchObject({ phase: "timedOut" });
    expect([record?.revisitAtMs, condition()?.reason, fixture.isCordoned()]).toEqual([undefined, "DrainTimedOut", false]);
    fixture.api.held.clear();
    await clock.advance(3600 * SECOND);
    expect(fixture.api.evictions).toEqual([]);
    await maintain(DRAIN);
    await clock.advance(5 * SECOND);
    expect(fixture.api.evictions).toEqual(["default/web-1"]);
  });
});

describe("cordon by hand", () => {
  it("is seen at once by who watches the Node", async () => {
    const { catalog, fleet, view } = fixture.clusters;
    const stop = new AbortController();
    const request = { kind: "Node", selector: undefined, name: `name-${A}`, fromRevision: 0 } as const;
    const events = watchObjects({ catalog, fleet, view, onNodeChange: () => () => undefined }, request, stop.signal);
    const next = async () => (await events.next()).value;
    expect([(await next())?.type, (await next())?.type]).toEqual(["added", "bookmark"]);
    const event = next();
    await maintain(CORDON);
    await clock.advance(SECOND);
    expect(await event).toMatchObject({ type: "modified", object: { status: { conditions: [{ type: "Maintenance" }, {}] } } });
    stop.abort();
    await events.return();
  });

  it("cordons and evicts nothing; a drain follows it, and a cordon stops a drain where it is", async () => {
    for (const pod of ["default/web-1", "default/web-2"]) fixture.api.putPod(pod, A_NODE);
    await maintain(CORDON);
    await clock.advance(60 * SECOND);
    expect([condition()?.reason, fixture.isCordoned(), fixture.api.evictions]).toEqual(["Cordoned", true, []]);
    fixture.api.held.set("default/web-2", { outcome: "held", budget: "web", message: "none" });
    await maintain(DRAIN);
    await clock.advance(SECOND);
    await maintain(CORDON);
    fixture.api.held.clear();
    await clock.advance(60 * SECOND);
    expect([condition()?.reason, fixture.isCordoned(), fixture.api.evictions]).toEqual(["Cordoned", true, ["default/web-1"]]);
  });

  it("of two at once both count, and the record is the later one's", async () => {
    await Promise.all([maintain(CORDON), maintain(DRAIN)]);
    await clock.advance(5 * SECOND);
    expect(["drain", "cordon"]).toContain((await fixture.record())?.wanted);
    expect(await audits()).toHaveLength(2);
  });
});

describe("what is asked of a node's maintenance", () => {
  it("is refused where a rollout or a repair has the node, which is named, and that is in the audit log", async () => {
    const held: Partial<MaintenanceRecord> = { owner: { kind: "Rollout", name: "web-1" } };
    await fixture.want("drain", held);
    for (const verb of [CORDON, DRAIN, UNCORDON]) {
      expect(await refusal(maintain(verb))).toMatchObject({ reason: "InUse", message: expect.stringContaining("Rollout/web-1") });
    }
    expect((await audits()).map(({ outcome }) => outcome)).toEqual(["refused", "refused", "refused"]);
    expect(await fixture.record()).toMatchObject(held);

    const repair = { apiVersion: "drover.dev/v1alpha1", kind: "Repair", metadata: { name: "fix-1" }, spec: { node: B } };
    await fixture.clusters.commit([putJson(keys.object("Repair", "fix-1"), { ...repair, status: { phase: "Running" } })]);
    expect(await refusal(maintain(CORDON, { node: B }))).toMatchObject({
      reason: "InUse",
      message: expect.stringContaining("Repair/fix-1"),
    });
    await fixture.clusters.commit([putJson(keys.object("Repair", "fix-1"), { ...repair, status: { phase: "HandedOver" } })]);
    expect(await maintain(CORDON, { node: B })).toBe(B);
  });

  it.each([
    ["an unknown node", CORDON, { node: "nobody" }, "NotFound"],
    ["no verb", MaintenanceVerb.MAINTENANCE_VERB_UNSPECIFIED, {}, "InvalidRequest"],
    ["a verb of a newer client", 99 as MaintenanceVerb, {}, "InvalidRequest"],
    ["a deadline of a year", DRAIN, { deadlineSeconds: 31_536_000 }, "InvalidRequest"],
    ["a cordon's deadline", CORDON, { deadlineSeconds: 5 }, "InvalidRequest"],
    ["a reason without end", DRAIN, { reason: "x".repeat(2000) }, "InvalidRequest"],
    ["what was never cordoned", UNCORDON, {}, "NotCordoned"],
  ])("is refused with %s", async (_what, verb, given, reason) => {
    expect(await refusal(maintain(verb, given))).toMatchObject({ reason });
    expect(await fixture.record()).toBeUndefined();
  });

  it("is refused without a Node in a cluster, and on an old backup", async () => {
    fixture.api.stored.delete(A_NODE);
    await clock.advance(60 * SECOND);
    expect(await refusal(maintain(DRAIN))).toMatchObject({ reason: "NotInCluster" });
    await fixture.clusters.commit([putJson(keys.restored, {})]);
    expect(await refusal(maintain(DRAIN, { node: B }))).toMatchObject({ reason: "RestoredFromBackup" });
  });
});
