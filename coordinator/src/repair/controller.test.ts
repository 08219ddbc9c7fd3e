import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KubeadmSpec, Plan, RungResult } from "@drover/proto";
import type { NodeRecord } from "../records.ts";
import { Refused, refuse } from "../refusal.ts";
import { keys } from "../store/keys.ts";
import { isRejoinDue } from "../rollout/situation.ts";
import { putJson, readJson } from "../store/values.ts";
import { newRepair } from "./records.ts";
import { type Death, RepairSite } from "./repair-site.ts";
import { hasEnded } from "./standing.ts";

const ILL = { verdict: "unhealthy", reason: "ContainerdDown" } as const;
const HEALTHY = { verdict: "healthy", reason: "Beating" } as const;

describe("the controller of repairs", () => {
  let site: RepairSite;
  beforeEach(async () => {
    site = await RepairSite.make();
    for (let index = 0; index < 5; index += 1) await site.enrol(`n${index}`, "abcde"[index]);
  });
  afterEach(() => site.end());

  const isOver = async (): Promise<boolean> => {
    const repairs = await site.repairs();
    return repairs.length > 0 && repairs.every(hasEnded);
  };
  /** RestartUnits does not help; the generation that Reapply gives does. */
  const healedByReapply = async (): Promise<void> => {
    const { generation } = await site.desired("id-n0");
    if (generation === 1 || site.health.get("id-n0")!.verdict === "healthy") return;
    site.enforces("id-n0", generation);
    site.health.set("id-n0", HEALTHY);
  };

  it("repairs a node without being asked, from evidence to the check, and lets it go", async () => {
    await site.set({ rungs: ["RestartUnits", "Reapply"] });
    site.eachStep = healedByReapply;
    await site.start();
    site.health.set("id-n0", ILL);
    await site.until(async () => (await site.repairs()).length > 0);
    expect(await site.record("id-n0")).toMatchObject({ owner: { kind: "Repair", name: "n0-1" }, cluster: "", wanted: "cordon" });
    expect(await site.store.get(keys.changeSlot(""))).toBeDefined();
    await site.until(isOver);
    const [repair] = await site.repairs();
    expect(repair).toMatchObject({
      spec: { node: "id-n0", requestedBy: "coordinator" },
      status: {
        phase: "Succeeded",
        attempts: [
          { rung: "RestartUnits", outcome: "DidNotHelp" },
          { rung: "Reapply", outcome: "Helped", generation: 2 },
        ],
      },
    });
    expect(await site.record("id-n0")).toBeUndefined();
    expect(await site.audit()).toEqual(["BeginRepair by coordinator", "EndRepair by coordinator"]);
    for (const { evidence } of repair!.status!.attempts) expect((await site.evidence.get(evidence!))?.toString()).toBe("bundle");
    const plan = Plan.decode(Buffer.from((await site.desired("id-n0")).plan, "base64"));
    expect([plan.generation, plan.revision, plan.nodeId]).toEqual([2, "A", "id-n0"]);
  });

  it("goes on after a death between any two commits, and the node does nothing twice (I2, I3)", { timeout: 240_000 }, async () => {
    await site.end();
    let deaths = 0;
    for (let atCommit = 1; ; atCommit += 1) {
      let wasReached = false;
      for (const isAfter of [false, true]) wasReached = (await survives({ atCommit, isAfter })) || wasReached;
      if (!wasReached) break;
      deaths += 2;
    }
    expect(deaths).toBeGreaterThan(14);
    site = await RepairSite.make();
  });

  async function survives(death: Death): Promise<boolean> {
    site = await RepairSite.make();
    try {
      for (let index = 0; index < 5; index += 1) await site.enrol(`n${index}`, "abcde"[index]);
      await site.set({ rungs: ["RestartUnits", "Reapply"] });
      site.eachStep = healedByReapply;
      const first = await site.start(death);
      site.health.set("id-n0", ILL);
      await site.until(async () => first.life.isDead || (await isOver()));
      if (!first.life.isDead) return false;
      first.stop();
      await site.start();
      await site.until(isOver);
      const repairs = await site.repairs();
      expect(repairs.map(({ status }) => [status?.phase, status?.attempts.map(({ rung }) => rung)])).toEqual([
        ["Succeeded", ["RestartUnits", "Reapply"]],
      ]);
      expect([site.done.size, (await site.desired("id-n0")).generation, await site.record("id-n0")]).toEqual([1, 2, undefined]);
      expect(await site.audit()).toEqual(["BeginRepair by coordinator", "EndRepair by coordinator"]);
      return true;
    } finally {
      await site.end();
    }
  }

  it("of two coordinators that think they lead, one loses every write: one Repair, one place, one request (I3)", async () => {
    await site.set({ rungs: ["RestartUnits"] }, 1);
    await site.start();
    await site.start();
    site.health.set("id-n0", ILL);
    site.health.set("id-n1", HEALTHY);
    let mostHeld = 0;
    site.eachStep = async () => {
      const held = (await site.store.list(keys.maintenances)).entries.length;
      mostHeld = Math.max(mostHeld, held);
      if (site.done.size > 0) site.health.set("id-n0", HEALTHY);
    };
    await site.until(isOver);
    expect([(await site.repairs()).map(({ status }) => status?.phase), mostHeld, site.done.size]).toEqual([["Succeeded"], 1, 1]);
  });

  it("takes what is known here as evidence of a node that cannot be reached, and gives its rung up in minutes", async () => {
    await site.set({ rungs: ["RestartUnits", "HandOver"] });
    const gone = new Refused(refuse("Unreachable", "the node did not open a session when it was woken"));
    site.answer = () => Promise.reject(gone);
    site.collect = async function* () {
      await Promise.reject(gone);
      yield Buffer.alloc(0);
    };
    await site.start();
    site.health.set("id-n0", { verdict: "unhealthy", reason: "Silent" });
    await site.until(isOver);
    const [repair] = await site.repairs();
    expect(repair?.status).toMatchObject({
      phase: "HandedOver",
      attempts: [{ outcome: "Failed" }, { rung: "HandOver", outcome: "Helped" }],
    });
    const bundle = await site.evidence.get(repair!.status!.attempts[0]!.evidence!);
    expect(bundle?.toString()).toContain("known of id-n0: Unreachable");
    const { startedAt, endedAt } = repair!.status!.attempts[0]!;
    expect(Date.parse(endedAt!) - Date.parse(startedAt)).toBeLessThan(240_000);
  });

  it("asks again with the same request when the answer was lost", async () => {
    await site.set({ rungs: ["RestartUnits"] });
    site.answer = async (_nodeId, { requestId }) => {
      if (site.asked < 3) throw new Refused(refuse("TimedOut", "the node's rung took longer"));
      site.health.set("id-n0", HEALTHY);
      return RungResult.create({ requestId, done: true, message: "restarted" });
    };
    await site.start();
    site.health.set("id-n0", ILL);
    await site.until(isOver);
    expect([site.asked, site.done.size, (await site.repairs())[0]?.status?.phase]).toEqual([3, 1, "Succeeded"]);
  });

  it("rejoins by its own hand: counter, plan and Repair in one commit, so that no rollout has to move the node", async () => {
    await site.set({ rungs: ["Rejoin", "HandOver"] });
    const before = await site.desired("id-n0");
    const steps = [{ id: "kubeadm", spec: { $case: "kubeadm" as const, value: KubeadmSpec.create({ cluster: "prod", nodeName: "n0" }) } }];
    const told = { ...Plan.decode(Buffer.from(before.plan, "base64")), steps };
    const joining = { ...before, rejoin: 0, plan: Buffer.from(Plan.encode(told).finish()).toString("base64") };
    await site.store.commit([putJson(keys.desired("id-n0"), joining)]);
    await site.start();
    site.health.set("id-n0", ILL);
    await site.until(async () => (await site.desired("id-n0")).generation === 2);
    const [desired, record] = [await site.desired("id-n0"), readJson((await site.store.get(keys.node("id-n0")))!) as NodeRecord];
    expect([isRejoinDue(joining, record.rejoin ?? 0), isRejoinDue(desired, record.rejoin ?? 0)]).toEqual([true, false]);
    expect(Plan.decode(Buffer.from(desired.plan, "base64")).steps[0]?.spec?.value).toMatchObject({ rejoin: 1, nodeName: "n0" });
    expect((await site.repairs())[0]?.status).toMatchObject({ phase: "Checking", attempts: [{ rung: "Rejoin", generation: 2 }] });
  });

  it("stands still while nodes know more than the store, and begins no other Repair of a node that has one", async () => {
    await site.set({ rungs: ["RestartUnits"] });
    await site.store.commit([
      putJson(keys.restored, { nodeId: "id-n1", seenEpoch: 2, seenGeneration: 1, ownEpoch: 1, ownGeneration: 1, atMs: 0 }),
    ]);
    await site.start();
    site.health.set("id-n0", ILL);
    await site.pass(600_000);
    expect(await site.repairs()).toEqual([]);
    await site.store.commit([{ type: "delete", key: keys.restored }]);
    await site.until(async () => (await site.repairs()).length > 0);
    const spec = { node: "id-n0", nodeName: "n0", rungs: ["Reboot" as const], reason: "", requestedBy: "operator:ann" };
    await site.store.commit([
      putJson(keys.object("Repair", "second"), newRepair(spec, "second", "u2", new Date(site.clock.now()).toISOString())),
    ]);
    await site.pass(60_000);
    const second = (await site.repairs()).find(({ metadata }) => metadata.name === "second");
    expect(second?.status).toMatchObject({ phase: "Pending", reason: "UnderMaintenance", attempts: [] });
  });
});
