import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NodeSet, Rollout } from "@drover/api";
import { seededRandom, silentLog } from "@drover/lifecycle";
import { Impact, RolloutVerb } from "@drover/proto";
import type { AuditEntry } from "../records.ts";
import { Refused } from "../refusal.ts";
import { planApply } from "../resources/apply.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import type { Seen } from "../resources/view.ts";
import { keys } from "../store/keys.ts";
import { readJson } from "../store/values.ts";
import { profileOf, RolloutSite, type Side, swappiness } from "./controller-fixture.ts";
import { createRolloutCalls } from "./create-rollout-calls.ts";
import type { RolloutCalls } from "./rollout-calls.ts";

const ANN = "operator:ann";
const random = seededRandom(1);
const {
  ROLLOUT_VERB_PAUSE: PAUSE,
  ROLLOUT_VERB_RESUME: RESUME,
  ROLLOUT_VERB_PROMOTE: PROMOTE,
  ROLLOUT_VERB_ABORT: ABORT,
  ROLLOUT_VERB_UNDO: UNDO,
  ROLLOUT_VERB_RETRY: RETRY,
} = RolloutVerb;

let site: RolloutSite;
let side: Side;
let calls: RolloutCalls;

beforeEach(async () => {
  site = await RolloutSite.make();
  side = await site.start();
  const { store, catalog, fleet } = side;
  const see = (kind: "Rollout", name: string): Seen | undefined => {
    const stored = catalog.object(kind, name);
    return stored && { object: stored.value, revision: stored.revision, labels: {} };
  };
  const list = (): readonly Seen[] =>
    [...catalog.objects("Node").values()].map(({ value, revision }) => ({ object: value, revision, labels: value.metadata.labels ?? {} }));
  const members = new MembershipIndex(catalog, fleet);
  calls = createRolloutCalls({ store, catalog, fleet, members, view: { see, list } as never, clock: site.clock, random, log: silentLog });
  await site.enrol({ a: { zone: "x" }, b: { zone: "y" } });
});
afterEach(() => site.remove());

/** As an operator applies it. @returns the rollouts it started and the warnings */
async function apply(object: object): Promise<{ readonly rollouts: readonly string[]; readonly warnings: readonly string[] }> {
  const json = Buffer.from(JSON.stringify({ apiVersion: "drover.dev/v1alpha1", ...object }));
  for (;;) {
    const plan = planApply({ catalog: side.catalog, clock: site.clock, random }, { json, expectedResourceVersion: 0, actor: ANN });
    if (!plan.ok) throw new Refused(plan);
    const committed = await side.store.commit(plan.operations);
    await site.until("the store is followed", async () => side.catalog.revision >= (await side.store.list("objects/-")).revision);
    if (committed.ok) return { rollouts: plan.rollouts.map(({ metadata }) => metadata.name), warnings: plan.warnings };
  }
}

const setOf = (strategy: object = {}, spec: object = {}): object => ({
  kind: "NodeSet",
  metadata: { name: "web" },
  spec: { selector: { matchLabels: { set: "web" } }, profile: "web", strategy, ...spec },
});

const control = (verb: RolloutVerb, name: string, given: { readonly reason?: string; readonly confirmedNodes?: number } = {}) =>
  // A controller that writes between reading and committing makes the call look again: time has to pass for both.
  during(calls.control({ name, verb, reason: "", confirmedNodes: 0, ...given }, ANN));

async function during<T>(asked: Promise<T>): Promise<T> {
  let isDone = false;
  const ended = asked.finally(() => (isDone = true));
  ended.catch(() => undefined);
  await site.until("the call is answered", () => isDone);
  return ended;
}

const refusal = (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => undefined,
    (error: unknown) => (error as Refused).refusal,
  );

async function audits(): Promise<AuditEntry[]> {
  const { entries } = await side.store.list(keys.audits);
  return entries.map((entry) => readJson(entry) as AuditEntry).sort((a, b) => a.atMs - b.atMs);
}

const rolloutObject = (name: string): Rollout => side.catalog.objects("Rollout").get(name)!.value;
const heldSet = (): NodeSet => side.catalog.objects("NodeSet").get("web")!.value;

/** Each node that is given a plan of the rollout reports how it ends, until all have. */
async function carryOut(
  rollout: string,
  outcome: "enforced" | "failed" = "enforced",
  names: readonly string[] = ["a", "b"],
): Promise<void> {
  for (const name of names) {
    await site.until(`${name} is moved by ${rollout}`, () => site.desired(name)?.rollout === rollout);
    site.ends(name, outcome);
  }
}

async function complete(rollout: string): Promise<void> {
  await carryOut(rollout);
  await site.until(`${rollout} is complete`, () => site.rollout(rollout).phase === "Complete");
}

describe("undo", () => {
  it("holds the set at what completed last, by a rollout of its own in the same commit, until the set is applied again", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    await complete("web-1");
    const good = rolloutObject("web-1").spec.revision;
    expect((await apply(swappiness(20))).rollouts).toEqual(["web-2"]);
    await site.until("a is in change", () => site.desired("a")?.rollout === "web-2");
    const { started } = await control(UNDO, "web", { reason: "it swaps" });
    expect(started).toBe("web-3");
    expect(rolloutObject("web-3").spec).toMatchObject({ revision: good, undoOf: "web-2", startedBy: ANN });
    expect(heldSet().spec.revision).toBe(good);
    expect(rolloutObject("web-2").status).toMatchObject({ phase: "Superseded", reason: "Superseded" });
    expect(rolloutObject("web-1").status).toMatchObject({ phase: "Superseded", reason: "Completed" });
    expect((await audits()).at(-1)).toMatchObject({
      actor: ANN,
      action: "UndoRollout",
      target: "Rollout/web-2",
      outcome: "ok",
      message: "starts Rollout/web-3, back to what Rollout/web-1 had completed: it swaps",
    });
    site.ends("a", "enforced");
    await site.until("a goes back", () => site.desired("a")?.revision === good);
    site.ends("a", "enforced");
    await site.until("web-3 is complete", () => site.rollout("web-3").phase === "Complete");

    const held = await apply(swappiness(30));
    expect(held.rollouts).toEqual([]);
    expect(held.warnings).toEqual([expect.stringContaining(`NodeSet/web is held at revision ${good} and does not follow`)]);
    expect((await apply(setOf())).rollouts).toEqual(["web-4"]);
    expect(heldSet().spec.revision).toBeUndefined();
    expect(rolloutObject("web-4").spec.revision).not.toBe(good);
  });

  it("finds nothing where no earlier revision completed, says what to do, and is recorded", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    expect(await refusal(control(UNDO, "web-1"))).toMatchObject({
      reason: "NotFound",
      message: expect.stringContaining("drover rollout abort web-1") as string,
    });
    expect((await audits()).at(-1)).toMatchObject({ action: "UndoRollout", target: "Rollout/web-1", outcome: "refused" });
    expect(await refusal(control(UNDO, "nobody"))).toMatchObject({ reason: "NotFound" });
  });

  it("of what was superseded names the one that moves the set", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    await apply(swappiness(20));
    expect(await refusal(control(UNDO, "web-1"))).toMatchObject({
      reason: "RolloutEnded",
      message: expect.stringContaining("drover rollout undo web-2") as string,
    });
  });

  it("still finds what completed after more failed rollouts than are kept", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    await complete("web-1");
    const good = rolloutObject("web-1").spec.revision;
    for (let value = 11; value < 35; value += 1) await apply(swappiness(value));
    expect(side.catalog.objects("Rollout").size).toBeLessThanOrEqual(12);
    expect(side.catalog.revisions.size).toBeLessThanOrEqual(22);
    const { started } = await control(UNDO, "web");
    expect(rolloutObject(started).spec.revision).toBe(good);
  });
});

describe("a set's revision", () => {
  it("that is not on record is refused, with what to do", async () => {
    await apply(swappiness(10));
    const refused = await refusal(apply(setOf({}, { revision: `sha256:${"0".repeat(64)}` })));
    expect(refused).toMatchObject({ reason: "InvalidObject", message: expect.stringContaining("is not on record") as string });
  });
});

describe("pause and resume", () => {
  it("begin nothing and begin again, each recorded with its reason", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    await site.until("a is in change", () => site.desired("a")?.rollout === "web-1");
    await control(PAUSE, "web-1", { reason: "lunch" });
    await control(PAUSE, "web-1");
    site.ends("a", "enforced");
    await site.until("it is paused", () => site.rollout("web-1").phase === "Paused" && site.rollout("web-1").updated === 1);
    await site.settle();
    expect(site.desired("b")).toBeUndefined();
    await control(RESUME, "web-1");
    await carryOut("web-1", "enforced", ["b"]);
    await site.until("it is complete", () => site.rollout("web-1").phase === "Complete");
    expect((await audits()).filter(({ target }) => target === "Rollout/web-1").map(({ action, message }) => [action, message])).toEqual([
      ["PauseRollout", "lunch"],
      ["ResumeRollout", ""],
    ]);
    expect(await refusal(control(RESUME, "web-1"))).toMatchObject({
      reason: "RolloutEnded",
      message: expect.stringContaining("is complete") as string,
    });
  });

  it("I7: all nodes at once begin only with their count confirmed, and a wrong one is told the right one", async () => {
    await apply(swappiness(10));
    const { warnings } = await apply(setOf({ maxUnavailable: "100%" }));
    expect(warnings).toEqual([expect.stringContaining("drover rollout resume web-1 --nodes N")]);
    await site.until("it waits", () => site.rollout("web-1").waitingCounts?.["CountNotConfirmed"] === 2);
    const wrong = { reason: "CountDiffers", message: expect.stringContaining("drover rollout resume web-1 --nodes 2") as string };
    expect(await refusal(control(RESUME, "web-1"))).toMatchObject(wrong);
    expect(await refusal(control(RESUME, "web-1", { confirmedNodes: 3 }))).toMatchObject(wrong);
    await control(RESUME, "web-1", { confirmedNodes: 2 });
    await site.until("both are in change", () => site.desired("a") !== undefined && site.desired("b") !== undefined);
  });
});

describe("promote, abort and retry", () => {
  it("promote does not wait for a soak, but never stands in for an approver", async () => {
    await apply(swappiness(10));
    await apply(setOf({ soak: "1h", canary: { nodes: 1 }, approvals: [2] }));
    await carryOut("web-1", "enforced", ["a"]);
    await site.until("the canary soaks", () => site.rollout("web-1").waves?.[0]?.phase === "Soaking");
    await control(PROMOTE, "web-1");
    expect(rolloutObject("web-1").spec.promotedWave).toBe(1);
    await site.until("wave 2 waits", () => site.rollout("web-1").waves?.[1]?.phase === "AwaitingApproval");
    expect(await refusal(control(PROMOTE, "web-1"))).toMatchObject({
      reason: "NotReady",
      message: expect.stringContaining("drover rollout approve web-1 --wave 2") as string,
    });
    expect(rolloutObject("web-1").spec.promotedWave).toBe(1);
  });

  it("abort is for good, and names what can follow", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    await site.until("a is in change", () => site.desired("a")?.rollout === "web-1");
    await control(ABORT, "web-1");
    await site.until("it is aborted", () => site.rollout("web-1").phase === "Aborted");
    expect(await refusal(control(RESUME, "web-1"))).toMatchObject({
      reason: "RolloutEnded",
      message: expect.stringContaining("aborted for good") as string,
    });
  });

  it("retry moves what failed again, and only that can be retried", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    expect(await refusal(control(RETRY, "web-1"))).toMatchObject({ reason: "NothingToRetry" });
    await carryOut("web-1", "failed", ["a"]);
    await site.until("it stops", () => site.rollout("web-1").phase === "Stopped");
    const { generation } = site.desired("a")!;
    await site.settle(1_000);
    await control(RETRY, "web-1");
    await site.until("a is moved again", () => site.desired("a")!.generation > generation);
  });
});

describe("approve", () => {
  const digestOf = (wave: number): string => site.rollout("web-1").waves?.[wave - 1]?.approvalDigest ?? "";
  const approve = (wave: number, digest: string) => during(calls.approve({ name: "web-1", wave, digest, reason: "" }, "operator:pat"));

  it("lets the wave begin that was shown, and no other", async () => {
    await apply(swappiness(10));
    await apply(setOf({ canary: { nodes: 1 }, approvals: [2] }));
    await carryOut("web-1", "enforced", ["a"]);
    await site.until("wave 2 waits", () => site.rollout("web-1").waves?.[1]?.phase === "AwaitingApproval");
    const digest = digestOf(2);
    await site.enrol({ c: {} });
    await site.until("its size is another", () => digestOf(2) !== digest);
    expect(await refusal(approve(2, digest))).toMatchObject({
      reason: "Conflict",
      message: expect.stringMatching(/it had 1 nodes and has 2; .*drover rollout approve web-1 --wave 2/) as string,
    });
    expect(await refusal(approve(1, digest))).toMatchObject({
      reason: "NoApprovalAsked",
      message: expect.stringContaining("an approver is asked for wave 2") as string,
    });
    expect(await refusal(approve(7, digest))).toMatchObject({ reason: "NoApprovalAsked" });
    await approve(2, digestOf(2));
    expect(rolloutObject("web-1").spec.approvals).toMatchObject([{ wave: 2, by: "operator:pat" }]);
    await carryOut("web-1", "enforced", ["b", "c"]);
    await site.until("it is complete", () => site.rollout("web-1").phase === "Complete");
  });
});

describe("a forecast", () => {
  it("says what each step, wave and zone would bear, of manifests that nobody applied", async () => {
    await apply(swappiness(10));
    await apply(setOf());
    await complete("web-1");
    const before = side.catalog.revision;
    const profile = profileOf({ sysctl: { values: { "vm.swappiness": 20 } }, containerd: { maxConcurrentDownloads: 5 } });
    const set = setOf({
      maxUnavailable: 2,
      canary: { nodes: 1 },
      approvals: [2],
      windows: ["night"],
      budgets: [{ topologyKey: "zone", maxUnavailable: 1 }],
    });
    const manifests = [profile, { apiVersion: "drover.dev/v1alpha1", ...set }].map((each) => Buffer.from(JSON.stringify(each)));
    const [forecast, ...others] = calls.forecast({ nodeSets: [], manifests });
    expect(others).toEqual([]);
    expect(forecast).toMatchObject({
      nodeSet: "web",
      nodes: 2,
      updated: 0,
      waves: [
        { name: "canary", nodes: 1, needsApproval: false, sample: ["a"], atOnce: 1 },
        { name: "wave 2", nodes: 1, needsApproval: true, sample: ["b"], atOnce: 1 },
      ],
      worst: [{ topologyKey: "zone", value: "x", nodes: 1, of: 1 }],
    });
    expect(forecast!.impactBound).toBeGreaterThan(Impact.IMPACT_LIVE);
    expect(forecast!.steps.map(({ nodes }) => nodes)).toEqual([2, 2]);
    expect(forecast!.warnings).toEqual([expect.stringContaining("MaintenanceWindow night does not exist")]);
    expect([side.catalog.revision, calls.forecast({ nodeSets: ["web"], manifests: [] })[0]?.updated]).toEqual([before, 2]);
  });
});
