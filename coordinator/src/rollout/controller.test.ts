import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Rollout } from "@drover/api";
import { ConditionStatus, type Event, Impact, PlanOutcome } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { profileOf, RolloutSite, swappiness } from "./controller-fixture.ts";
import { askWebhook } from "./webhook.ts";

const NAMES = ["a", "b", "c", "d", "e", "f"];
const fleetOf = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, {}]));

let site: RolloutSite;
beforeEach(async () => {
  site = await RolloutSite.make();
});
afterEach(() => site.remove());

const movedNames = (): string[] => NAMES.filter((name) => site.desired(name) !== undefined);

describe("I2: a change that was cut short by a boot of the machine", () => {
  const cutShort = (): void => {
    const { planEpoch, generation, revision } = site.desired("a")!;
    const finished = {
      revision,
      outcome: PlanOutcome.PLAN_OUTCOME_REJECTED,
      reason: "BootedUnconfirmed",
      message: "undone",
      failedStep: "",
    };
    site.report("a", [{ atMs: site.clock.now(), planEpoch, generation, body: { $case: "planFinished", value: finished } }]);
  };

  it("is given a new generation by itself, twice; after that it counts as failed like any other", async () => {
    await site.start();
    await site.enrol(fleetOf(["a", "b"]));
    await site.rollOut(swappiness(10), { maxUnavailable: 1 });
    for (const generation of [1, 2, 3]) {
      await site.until(`generation ${generation}`, () => site.desired("a")?.generation === generation);
      expect([generation, site.desired("b")]).toEqual([generation, undefined]);
      cutShort();
    }
    await site.until("it is stopped", () => site.rollout().phase === "Stopped");
    expect(site.desired("a")).toMatchObject({ generation: 3, interruptions: 2 });
    expect(site.desired("b")).toBeUndefined();
  });
});

describe("I3: two coordinators that both think they lead", () => {
  it("never bring more nodes into change than the budget allows, whoever commits first", async () => {
    const seen = new Set<string>();
    let inChange = 0;
    let most = 0;
    let lost = 0;
    /** Counted where it becomes durable, whoever wrote it. */
    const watched = (store: Store): Store => ({
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      watch: (prefix, from, signal) => store.watch(prefix, from, signal),
      close: () => store.close(),
      commit: async (operations) => {
        const committed = await store.commit(operations);
        if (!committed.ok) lost += 1;
        else
          for (const { key } of operations)
            if (key.startsWith(keys.allDesired) && !seen.has(key)) {
              seen.add(key);
              inChange += 1;
            }
        most = Math.max(most, inChange);
        return committed;
      },
    });
    const [one, other] = [await site.start({ wrap: watched }), await site.start({ wrap: watched })];
    await site.enrol(fleetOf(NAMES));
    await site.rollOut(swappiness(10), { maxUnavailable: 2 });
    for (let rounds = 0; rounds < 60 && site.rollout().phase !== "Complete"; rounds += 1) {
      await site.settle(700);
      for (const name of movedNames()) {
        const { outcome } = one.fleet.node(name)!;
        if (outcome === "enforced") continue;
        inChange -= 1;
        site.ends(name, "enforced");
      }
    }
    expect(site.rollout()).toMatchObject({ phase: "Complete", updated: 6 });
    expect(most).toBe(2);
    // Both decided, and one of them lost each time.
    expect(lost).toBeGreaterThan(0);
    expect([...one.moved, ...other.moved].map(({ nodeId, generation }) => `${nodeId} ${generation}`).sort()).toEqual(
      NAMES.map((name) => `${name} 1`),
    );
  });

  it("lose the whole commit when somebody of the same cluster has taken the slot meanwhile", async () => {
    let isStruck = false;
    const slot = keys.changeSlot("");
    const struck = (store: Store): Store => ({
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      watch: (prefix, from, signal) => store.watch(prefix, from, signal),
      close: () => store.close(),
      commit: async (operations: readonly StoreOperation[]) => {
        if (!isStruck && operations.some(({ key }) => key === slot)) {
          isStruck = true;
          await store.commit([putJson(slot, { by: "Repair/x", atMs: 0 })]);
          const lost = await store.commit(operations);
          expect(lost).toMatchObject({ ok: false, conflict: { key: slot } });
          return lost;
        }
        return store.commit(operations);
      },
    });
    await site.start({ wrap: struck });
    await site.enrol(fleetOf(["a"]));
    await site.rollOut(swappiness(10), {});
    await site.until("it is moved after all", () => movedNames().length === 1);
    expect(isStruck).toBe(true);
  });
});

describe("a rollout that begins", () => {
  it("works its impact out before anything is moved, and remembers which failures are older than it, over restarts", async () => {
    await site.start();
    await site.enrol({ a: { zone: "z1" }, b: { zone: "z1" }, c: { zone: "z2" } });
    await site.rollOut(swappiness(10), { budgets: [{ topologyKey: "zone", maxUnavailable: 1 }] });
    await site.until("a is moved", () => site.desired("a") !== undefined);
    expect(site.rollout().impact).toEqual({
      bound: "live",
      steps: [{ step: "sysctl", impact: "live", nodes: 3 }],
      worst: [{ topologyKey: "zone", value: "z2", nodes: 1, of: 1 }],
    });
    site.ends("a", "failed", [], "key 4711 cannot be set");
    await site.settle();
    await site.rollOut(
      profileOf({ sysctl: { values: { "vm.swappiness": 20 } }, containerd: { maxConcurrentDownloads: 4 } }),
      {},
      { name: "web-2" },
    );
    await site.until("it has begun", () => site.rollout("web-2").impact !== undefined);
    expect(site.rollout("web-2").impact).toMatchObject({
      bound: "restart",
      steps: [
        { step: "sysctl", nodes: 3 },
        { step: "containerd", impact: "restart", nodes: 3 },
      ],
    });
    const known = { step: "sysctl", error: "Broken: key * cannot be set", isNew: false };
    await site.sides[0]!.stop();
    await site.start();
    await site.until("a is moved again", () => site.desired("a")?.rollout === "web-2");
    await site.settle();
    expect(site.rollout("web-2").fingerprints).toMatchObject([known]);
  });

  it("waits for the sets that it comes after, until it has begun itself", async () => {
    await site.start();
    await site.enrol({ a: {}, b: { set: "db" } });
    await site.rollOut(swappiness(10), {}, { name: "web-1", spec: { after: ["db"] } });
    await site.settle();
    expect([movedNames(), site.rollout().waiting[0]?.message]).toEqual([[], expect.stringContaining("NodeSet/db does not exist")]);
    await site.rollOut(profileOf({ sysctl: { values: { "vm.swappiness": 5 } } }, "db"), {}, { name: "db-1", set: "db" });
    await site.until("db is moved", () => site.desired("b") !== undefined);
    await site.settle();
    expect(movedNames()).toEqual(["b"]);
    site.ends("b", "enforced");
    await site.until("web is moved", () => site.desired("a") !== undefined);
  });
});

describe("drift that only a restart mends", () => {
  const drift = (generation: number, impact: Impact): Event => ({
    atMs: 0,
    planEpoch: 1,
    generation,
    body: { $case: "drift", value: { step: "containerd", changes: [{ path: "x", from: "", to: "y", impact, note: "" }], repaired: false } },
  });

  it("I3: takes a slot: the same revision once more, with a bound that covers it, one node at a time", async () => {
    await site.start();
    await site.enrol(fleetOf(["a", "b"]));
    await site.rollOut(profileOf({ containerd: { maxConcurrentDownloads: 4 } }), {});
    for (const name of ["a", "b"]) {
      await site.until(`${name} is moved`, () => site.desired(name) !== undefined);
      site.ends(name, "enforced");
    }
    await site.until("it is complete", () => site.rollout().phase === "Complete");
    await site.settle(3_700_000);
    for (const name of ["a", "b"]) site.report(name, [drift(1, Impact.IMPACT_RESTART)]);
    await site.until("a slot is given", () => site.desired("a")?.generation === 2);
    await site.settle();
    expect([site.desired("b")?.generation, site.plan("a").impactBound, site.plan("a").revision]).toEqual([
      1,
      Impact.IMPACT_RESTART,
      site.plan("b").revision,
    ]);
    site.ends("a", "enforced");
    await site.until("the other's turn comes", () => site.desired("b")?.generation === 2);
  });

  it("asks for none when the agent may mend it by itself", async () => {
    await site.start();
    await site.enrol(fleetOf(["a"]));
    await site.rollOut(swappiness(10), {});
    await site.until("a is moved", () => site.desired("a") !== undefined);
    site.ends("a", "enforced");
    await site.settle(3_700_000);
    site.report("a", [drift(1, Impact.IMPACT_LIVE)]);
    await site.settle(120_000);
    expect(site.desired("a")?.generation).toBe(1);
  });
});

describe("a wave with a webhook", () => {
  let server: Server;
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  it("is asked about over HTTP when it is done, again until it passes, and again by a coordinator that restarted", async () => {
    const asked: unknown[] = [];
    let status = 503;
    server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk) => (text += String(chunk)));
      request.on("end", () => {
        asked.push(JSON.parse(text));
        response.writeHead(status, { connection: "close" }).end("not yet");
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/wave`;
    await site.start({ askWebhook });
    await site.enrol(fleetOf(["a", "b"]));
    await site.rollOut(swappiness(10), { canary: { nodes: 1 }, gates: { kubernetesReady: true, webhook: { url, timeout: "10s" } } });
    await site.until("the canary is moved", () => site.desired("a") !== undefined);
    site.ends("a", "enforced");
    await site.until("it is asked", () => asked.length === 1);
    expect(asked[0]).toEqual({ rollout: "web-1", nodeSet: "web", wave: 1, revision: site.desired("a")!.revision });
    await site.until("it is asked again", () => asked.length === 2);
    expect([site.desired("b"), JSON.stringify(site.rollout().waves)]).toEqual([undefined, expect.stringContaining("Gated")]);
    await site.sides[0]!.stop();
    await site.start({ askWebhook });
    status = 200;
    await site.until("the next wave begins", () => site.desired("b") !== undefined);
  });
});

describe("a change that disturbs what runs", () => {
  const inCluster = (ready: "True" | "False" = "True") => ({
    kubernetesNodeOf: (nodeId: string) => ({
      cluster: "lab",
      nodeName: `${nodeId}-host`,
      ready,
      reason: "R",
      message: "m",
      kubeletVersion: "v1",
    }),
    readySinceMs: () => 0,
    readAtMs: () => site.clock.now(),
    readSoon: () => undefined,
  });
  const strategy = { drain: { from: "restart" as const, deadline: "10m", revisitAfter: "5m" } };
  const containerd = profileOf({ containerd: { maxConcurrentDownloads: 4 } });

  it("drains first, takes the slot with it, moves when drained, and lets the node go when its gates have passed", async () => {
    await site.start({ clusters: inCluster() });
    await site.enrol(fleetOf(["a", "b"]));
    await site.rollOut(containerd, { ...strategy, gates: { kubernetesReady: true, conditions: ["Containerd"] } });
    await site.until("a drain is asked for", async () => (await site.maintenance("a")) !== undefined);
    const record = (await site.maintenance("a"))!;
    expect(record).toMatchObject({
      cluster: "lab",
      nodeName: "a-host",
      owner: { kind: "Rollout", name: "web-1" },
      wanted: "drain",
      phase: "waiting",
    });
    expect(site.sides[0]!.catalog.changeSlots.size).toBe(1);
    await site.settle();
    expect([movedNames(), await site.maintenance("b")]).toEqual([[], undefined]);
    await site.commit([putJson(keys.maintenance("a"), { ...record, phase: "drained" })]);
    await site.until("it is moved", () => site.desired("a") !== undefined);
    site.ends("a", "enforced");
    await site.settle();
    expect(await site.maintenance("a")).toMatchObject({ wanted: "drain" });
    const { planEpoch, generation } = site.desired("a")!;
    const told = { type: "Containerd", status: ConditionStatus.CONDITION_STATUS_TRUE, reason: "", message: "", lastTransitionMs: 0 };
    site.report("a", [{ atMs: 0, planEpoch, generation, body: { $case: "condition", value: told } }]);
    await site.until("it is let go", async () => (await site.maintenance("a"))?.wanted === "release");
  });

  it("is taken over with its drains by the rollout that supersedes it", async () => {
    await site.start({ clusters: inCluster() });
    await site.enrol(fleetOf(["a"]));
    await site.rollOut(containerd, strategy);
    await site.until("a drain is asked for", async () => (await site.maintenance("a")) !== undefined);
    await site.rollOut(profileOf({ containerd: { maxConcurrentDownloads: 5 } }), strategy, { name: "web-2" });
    await site.until("it has another owner", async () => (await site.maintenance("a"))?.owner.name === "web-2");
  });
});

describe("I3: a look that decides more than a commit holds", () => {
  const MANY = Array.from({ length: 1_300 }, (_, index) => `n${String(index).padStart(4, "0")}`);

  /** @param meanwhile done once, before the second commit that moves nodes is written */
  async function movedOf(meanwhile: (store: Store) => Promise<unknown>) {
    const commits: { readonly moves: number; readonly ok: boolean }[] = [];
    const wrap = (store: Store): Store => ({
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      watch: (prefix, from, signal) => store.watch(prefix, from, signal),
      close: () => store.close(),
      commit: async (operations) => {
        const moves = operations.filter(({ key }) => key.startsWith(keys.allDesired)).length;
        if (moves > 0 && commits.length === 1) await meanwhile(store);
        const committed = await store.commit(operations);
        if (moves > 0) commits.push({ moves, ok: committed.ok });
        return committed;
      },
    });
    const side = await site.start({ wrap });
    await site.enrol(fleetOf(MANY));
    await site.rollOut(swappiness(10), { maxUnavailable: 1_100 });
    await site.until("something is moved", () => side.moved.length > 0);
    await site.settle();
    return { side, commits };
  }

  it("writes it in several, one after the other, and tells each node once", async () => {
    const { side, commits } = await movedOf(() => Promise.resolve());
    expect(commits.map(({ moves }) => moves)).toEqual([490, 490, 120]);
    expect(new Set(side.moved.map(({ nodeId }) => nodeId)).size).toBe(1_100);
    expect(side.moved).toHaveLength(1_100);
  });

  it("stops between two of them when somebody else has taken the slot, and decides anew", async () => {
    const { side, commits } = await movedOf((store) => store.commit([putJson(keys.changeSlot(""), { by: "Repair/x", atMs: 0 })]));
    expect(commits[1]).toMatchObject({ ok: false });
    expect(side.moved).toHaveLength(1_100);
  });

  it("moves nobody more when it was paused between two of them", async () => {
    const { side, commits } = await movedOf(async (store) => {
      const key = keys.object("Rollout", "web-1");
      const rollout = readJson((await store.get(key))!) as Rollout;
      await store.commit([putJson(key, { ...rollout, spec: { ...rollout.spec, paused: true } })]);
    });
    expect(commits[1]).toMatchObject({ ok: false });
    expect(side.moved).toHaveLength(490);
    expect(site.rollout().phase).toBe("Paused");
  });
});
