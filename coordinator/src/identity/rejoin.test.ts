import { describe, expect, it } from "vitest";
import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { listAudit } from "../audit/audit.ts";
import type { DesiredNode, NodeRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import { putJson, readJson } from "../store/values.ts";
import { type RejoinStanding, rejoinNode } from "./rejoin.ts";

const NODE = "aaaaaaaaaa";
const desired = { nodeId: NODE, generation: 3, rejoin: 0 } as DesiredNode;
const joined: RejoinStanding = { nodeSet: "web", cluster: "prod", desired };
const { rejoin: _none, ...inNoCluster } = desired;

async function world(record: Partial<NodeRecord> = {}) {
  const store = memoryStore();
  await store.commit([putJson(keys.node(NODE), { nodeId: NODE, name: "web-1", ...record }, 0)]);
  const dependencies = { store, clock: new VirtualClock(), random: seededRandom(1), log: silentLog };
  const stored = async () => readJson((await store.get(keys.node(NODE)))!) as NodeRecord;
  const audited = async () =>
    (await listAudit(store, { limit: 0, actor: "" })).map(({ action, target, outcome, message }) => [action, target, outcome, message]);
  return { dependencies, stored, audited };
}

describe("asking a node to join again", () => {
  it("counts up in its record, with the audit record in the same commit", async () => {
    const { dependencies, stored, audited } = await world({ rejoin: 4 });
    let batches = 0;
    const { store } = dependencies;
    const counted = {
      ...store,
      get: store.get.bind(store),
      commit: (...all: Parameters<typeof store.commit>) => (batches++, store.commit(...all)),
    };
    expect(await rejoinNode({ ...dependencies, store: counted }, NODE, joined, "operator:ann")).toEqual({
      ok: true,
      nodeId: NODE,
      rejoin: 5,
    });
    expect(await stored()).toEqual({ nodeId: NODE, name: "web-1", rejoin: 5 });
    expect(await audited()).toEqual([["RejoinNode", "Node/web-1", "ok", "cluster prod, rejoin 5"]]);
    expect(batches).toBe(1);
  });

  it("counts each of those who ask at once", async () => {
    const { dependencies, stored } = await world();
    const answers = await Promise.all(Array.from({ length: 5 }, () => rejoinNode(dependencies, NODE, joined, "operator:ann")));
    const counts = answers.map((answer) => (answer.ok ? answer.rejoin : answer.reason));
    expect([new Set(counts), (await stored()).rejoin]).toEqual([new Set([1, 2, 3, 4, 5]), 5]);
  });

  const refused: readonly [string, Partial<NodeRecord>, RejoinStanding, string, RegExp][] = [
    ["a revoked node", { revokedAtMs: 1 }, joined, "NodeRevoked", /web-1 is revoked; enrol/],
    ["a node of no set", {}, { nodeSet: undefined, cluster: undefined, desired }, "NotInCluster", /no NodeSet selects node web-1/],
    [
      "a node whose set names no cluster",
      {},
      { ...joined, cluster: undefined },
      "NotInCluster",
      /NodeSet web of node web-1 names no cluster/,
    ],
    ["a node without a plan", {}, { ...joined, desired: undefined }, "NoPlan", /has no plan yet/],
    ["a node whose plan joins no cluster yet", {}, { ...joined, desired: inNoCluster }, "NoPlan", /joins no cluster yet/],
  ];
  it.each(refused)("is refused for %s, which is audited and changes nothing", async (_what, record, standing, reason, says) => {
    const { dependencies, stored, audited } = await world(record);
    const answer = await rejoinNode(dependencies, NODE, standing, "operator:ann");
    expect(answer).toMatchObject({ ok: false, status: "FAILED_PRECONDITION", reason, message: expect.stringMatching(says) });
    expect(await stored()).toEqual({ nodeId: NODE, name: "web-1", ...record });
    expect(await audited()).toMatchObject([["RejoinNode", "Node/web-1", "refused", expect.stringContaining(reason)]]);
  });

  it("is refused for a node that is not there", async () => {
    const { dependencies } = await world();
    expect(await rejoinNode(dependencies, "bbbbbbbbbb", joined, "operator:ann")).toMatchObject({ ok: false, status: "NOT_FOUND" });
  });
});
