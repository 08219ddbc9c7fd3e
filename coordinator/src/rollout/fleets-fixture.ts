/** Members of one set over a store in memory, and the fleets that are kept of them: for tests only. */
import { type Node, type NodeProfile, type NodeSet, revisionOf, type Rollout } from "@drover/api";
import { KubeadmSpec, Plan, PlanOutcome, ReportBatch } from "@drover/proto";
import { FleetState } from "../fleet/fleet-state.ts";
import type { DesiredNode } from "../records.ts";
import { Catalog } from "../resources/catalog.ts";
import { MembershipIndex } from "../resources/membership-index.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { Fleets } from "./fleets.ts";
import type { Fleet } from "./model.ts";
import { Prospects } from "./prospects.ts";

const API = { apiVersion: "drover.dev/v1alpha1" } as const;
const profile: NodeProfile = {
  ...API,
  kind: "NodeProfile",
  metadata: { name: "web" },
  spec: { sysctl: { values: { "vm.swappiness": 10 } } },
};
const strategy = { maxUnavailable: 1, soak: "0s", progressDeadline: "10m", failureBudget: 0 };

export interface MemberFixture {
  readonly view: FleetState;
  readonly fleets: Fleets;
  /** When the cluster was read last; every node is Ready in it. */
  readAtMs: number;
  fleet(): Fleet;
  /** What fleet() does of many nodes, in turns. */
  near(): Promise<void>;
  /** Names of the nodes gathered since it was asked last. */
  takeGathered(): readonly string[];
  node(name: string): Node;
  /** The node enforces a plan that joins it to its cluster. */
  enforce(name: string): Promise<void>;
  commit(...operations: StoreOperation[]): Promise<void>;
  stop(): Promise<void>;
}

export async function memberFixture(names: readonly string[]): Promise<MemberFixture> {
  const store = memoryStore();
  const catalog = new Catalog(store);
  const view = new FleetState();
  const index = new MembershipIndex(catalog, view);
  const ended = new AbortController();
  const following = catalog.run(ended.signal);
  const revision = revisionOf(profile, []);
  const rollout: Rollout = {
    ...API,
    kind: "Rollout",
    metadata: { name: "web-1" },
    spec: { nodeSet: "web", profile: "web", revision, strategy },
  };
  const set: NodeSet = {
    ...API,
    kind: "NodeSet",
    metadata: { name: "web" },
    spec: { selector: { matchLabels: { set: "web" } }, profile: "web", strategy },
  };
  const nodeOf = (name: string): Node => ({ ...API, kind: "Node", metadata: { name, uid: name, labels: { set: "web" } }, spec: {} });
  const commit = async (...operations: StoreOperation[]): Promise<void> => {
    const committed = await store.commit(operations);
    if (!committed.ok) throw new Error(`conflict at ${committed.conflict.key}`);
    await catalog.reached(committed.revision);
  };
  const target = { ok: true, profile, locks: [], membership: undefined, revision } as const;
  const gathered: string[] = [];
  const fixture: MemberFixture = {
    view,
    readAtMs: 0,
    fleets: new Fleets({
      catalog,
      fleet: view,
      stepKinds(nodeId) {
        gathered.push(nodeId);
        return undefined;
      },
      disruptionOf: () => undefined,
      prospects: new Prospects(),
      clusters: () => ({
        kubernetesNodeOf: (nodeId) => ({ cluster: "lab", nodeName: nodeId, ready: "True", reason: "", message: "", kubeletVersion: "" }),
        readySinceMs: () => 0,
        readAtMs: () => fixture.readAtMs,
        readSoon: () => undefined,
      }),
    }),
    fleet: () => fixture.fleets.of("web", index.current().membersOf.get("web") ?? [], rollout, target),
    near: () => fixture.fleets.near("web", index.current().membersOf.get("web") ?? [], rollout, target),
    takeGathered: () => gathered.splice(0),
    node: (name) => catalog.objects("Node").get(name)!.value,
    async enforce(name) {
      const value = KubeadmSpec.fromPartial({ cluster: "lab" });
      const plan = Plan.fromPartial({
        nodeId: name,
        planEpoch: 1,
        generation: 1,
        steps: [{ id: "kubeadm", spec: { $case: "kubeadm", value } }],
      });
      const desired: DesiredNode = {
        nodeId: name,
        planEpoch: 1,
        generation: 1,
        revision,
        nodeSet: "web",
        rollout: "web-1",
        plan: Buffer.from(Plan.encode(plan).finish()).toString("base64"),
        decidedAtMs: 1,
        rejoin: 0,
      };
      await commit(putJson(keys.desired(name), desired));
      const finished = { revision, outcome: PlanOutcome.PLAN_OUTCOME_ENFORCED, reason: "", message: "", failedStep: "" };
      const event = { atMs: 1, planEpoch: 1, generation: 1, body: { $case: "planFinished" as const, value: finished } };
      const batch = ReportBatch.fromPartial({ nodeId: name, outboxEpoch: Buffer.alloc(8, 1), seq: 1, events: [event] });
      view.foldReport(name, batch, 1, 1_000);
    },
    commit,
    async stop() {
      ended.abort();
      await following;
      await store.close();
    },
  };
  await catalog.reached(0);
  const operations = names.flatMap((name) => [
    putJson(keys.node(name), { nodeId: name, name }),
    putJson(keys.object("Node", name), nodeOf(name)),
  ]);
  await commit(putJson(keys.object("NodeSet", "web"), set));
  for (let start = 0; start < operations.length; start += 100) await commit(...operations.slice(start, start + 100));
  for (const name of names) {
    view.add(name);
    view.setHealth(name, { verdict: "healthy", reason: "Beating" });
  }
  return fixture;
}
