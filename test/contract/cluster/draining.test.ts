/** Draining against a real kube-apiserver: evictions under a real PodDisruptionBudget. No kubelet and no controllers are there: the test does their part. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret, seededRandom, silentLog, systemClock } from "@drover/lifecycle";
import type { ClusterApi } from "../../../coordinator/src/cluster/cluster-api.ts";
import { ClustersFixture } from "../../../coordinator/src/cluster/clusters-fixture.ts";
import { readKubeconfig } from "../../../coordinator/src/cluster/kubeconfig.ts";
import { connectKubernetes } from "../../../coordinator/src/cluster/kubernetes-api.ts";
import { MaintenanceWorker } from "../../../coordinator/src/maintenance/maintenance-worker.ts";
import type { MaintenanceRecord } from "../../../coordinator/src/records.ts";
import { MembershipIndex } from "../../../coordinator/src/resources/membership-index.ts";
import { keys } from "../../../coordinator/src/store/keys.ts";
import { putJson, readJson } from "../../../coordinator/src/store/values.ts";
import { eventually } from "../../testbed/program.ts";
import { findKubernetesBinaries, noKubernetesBinaries } from "../../testbed/roots/kubernetes-binaries.ts";
import { type KubeApiServer, startKubeApiServer } from "./kube-api-server.ts";

const binaries = await findKubernetesBinaries();
const why = binaries === undefined ? ` (skipped: ${noKubernetesBinaries})` : "";
const NODE = "aaaaaaaaaa";
const NODE_NAME = `${NODE}-host`;
const { signal } = new AbortController();

describe.skipIf(binaries === undefined)(`draining by a real kube-apiserver${why}`, () => {
  let server: KubeApiServer;
  let fixture: ClustersFixture;
  let api: ClusterApi;
  let worker: { readonly stop: AbortController; readonly ended: Promise<unknown> };

  beforeAll(async () => {
    server = await startKubeApiServer(binaries!);
    const reading = readKubeconfig(new Secret(server.adminKubeconfig), systemClock.now());
    if (!reading.ok) throw new Error(reading.problems.join("; "));
    api = await connectKubernetes(reading.kubeconfig, systemClock);
    fixture = new ClustersFixture(systemClock, connectKubernetes);
    await begin();
    await fixture.clusters.adopt(
      { name: "prod", endpoint: "", kubeconfig: new Secret(server.adminKubeconfig), actor: "operator:ann" },
      signal,
    );
    await fixture.plan(NODE, "prod");
    await server.kubectl("create", "serviceaccount", "default");
    const metadata = { name: NODE_NAME, labels: { "drover.dev/node-set": "web" }, annotations: { "drover.dev/node": NODE } };
    await apply({ apiVersion: "v1", kind: "Node", metadata });
  });
  afterAll(async () => {
    worker?.stop.abort();
    await worker?.ended;
    await fixture?.stop();
    await api?.close();
    await server?.[Symbol.asyncDispose]();
  });

  /** A coordinator's process, as far as it drains. */
  async function begin(): Promise<void> {
    fixture.start();
    const { store, catalog, clusters } = fixture;
    await catalog.reached(0);
    const stop = new AbortController();
    const members = new MembershipIndex(catalog, fixture.fleet);
    const parts = { store, catalog, members, clusters, clock: systemClock, random: seededRandom(5), log: silentLog };
    worker = { stop, ended: new MaintenanceWorker(parts).run(stop.signal).catch(() => undefined) };
  }
  const apply = async (object: object): Promise<void> => {
    await server.kubectl("apply", "--validate=false", "-f", await server.file("object.json", JSON.stringify(object)));
  };
  /** What a kubelet or a controller says of it. */
  const setStatus = async (path: string, status: object): Promise<void> => {
    const object = JSON.parse(await server.kubectl("get", "--raw", path)) as object;
    await server.kubectl(
      "replace",
      "--raw",
      `${path}/status`,
      "-f",
      await server.file("status.json", JSON.stringify({ ...object, status })),
    );
  };
  const putPod = async (name: string, { phase = "Running", kind = "", annotations = {} } = {}): Promise<void> => {
    const owner = { apiVersion: "apps/v1", kind, name: "owner", uid: "11111111-2222-3333-4444-555555555555", controller: true };
    const metadata = { name, labels: { app: "web" }, annotations, ...(kind === "" ? {} : { ownerReferences: [owner] }) };
    const containers = [{ name: "c", image: "registry.example/pause" }];
    await apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata,
      spec: { nodeName: NODE_NAME, containers, automountServiceAccountToken: false },
    });
    const ready = { type: "Ready", status: phase === "Running" ? "True" : "False" };
    await setStatus(`/api/v1/namespaces/default/pods/${name}`, { phase, conditions: [ready] });
  };
  const allow = (disruptionsAllowed: number): Promise<void> => {
    const counts = {
      disruptionsAllowed,
      currentHealthy: 1 + disruptionsAllowed,
      desiredHealthy: 1,
      expectedPods: 2,
      observedGeneration: 1,
    };
    return setStatus("/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets/web", counts);
  };
  const terminating = async (): Promise<string[]> => {
    const { items } = JSON.parse(await server.kubectl("get", "pods", "-o", "json")) as {
      items: { metadata: { name: string; deletionTimestamp?: string } }[];
    };
    return items.filter(({ metadata }) => metadata.deletionTimestamp !== undefined).map(({ metadata }) => metadata.name);
  };
  const endTerminating = async (): Promise<void> => {
    for (const name of await terminating()) await server.kubectl("delete", "pod", name, "--grace-period=0", "--force");
  };
  const record = async (): Promise<MaintenanceRecord | undefined> => {
    const entry = await fixture.store.get(keys.maintenance(NODE));
    return entry && (readJson(entry) as MaintenanceRecord);
  };
  const want = async (wanted: MaintenanceRecord["wanted"], forMs: number): Promise<void> => {
    const startedAtMs = systemClock.now();
    const fresh = { phase: "waiting", message: "", wasCordoned: false, startedAtMs, deadlineAtMs: startedAtMs + forMs };
    const owner = { kind: "Operator", name: "ann" };
    const value = {
      ...fresh,
      ...(wanted === "release" ? await record() : {}),
      nodeId: NODE,
      cluster: "prod",
      nodeName: NODE_NAME,
      owner,
      wanted,
    };
    await fixture.commit([putJson(keys.maintenance(NODE), value)]);
  };
  const spec = async (): Promise<{ readonly unschedulable?: boolean }> =>
    (JSON.parse(await server.kubectl("get", "node", NODE_NAME, "-o", "json")) as { spec: { unschedulable?: boolean } }).spec;

  it("lists the pods of a Node with what matters of each", async () => {
    await putPod("web-1", { kind: "ReplicaSet" });
    await putPod("web-2", { kind: "ReplicaSet" });
    await putPod("alone");
    await putPod("proxy", { kind: "DaemonSet" });
    await putPod("static", { kind: "Node", annotations: { "kubernetes.io/config.mirror": "x" } });
    await putPod("done", { kind: "Job", phase: "Succeeded" });
    const pods = await api.podsOf(NODE_NAME, signal);
    expect(pods.map(({ name, controllerKind, isMirror, phase }) => [name, controllerKind, isMirror, phase])).toEqual([
      ["alone", undefined, false, "Running"],
      ["done", "Job", false, "Succeeded"],
      ["proxy", "DaemonSet", false, "Running"],
      ["static", "Node", true, "Running"],
      ["web-1", "ReplicaSet", false, "Running"],
      ["web-2", "ReplicaSet", false, "Running"],
    ]);
    expect(await api.podsOf("nobody", signal)).toEqual([]);
  });

  it("cordons, evicts what the PodDisruptionBudget lets go, and says which budget holds the rest; a killed coordinator goes on", async () => {
    const selector = { matchLabels: { app: "web" } };
    await apply({
      apiVersion: "policy/v1beta1",
      kind: "PodDisruptionBudget",
      metadata: { name: "web" },
      spec: { minAvailable: 1, selector },
    });
    await allow(2);
    // The budget is of all pods here: of alone, web-1 and web-2 two may go.
    await want("drain", 300_000);
    await eventually(
      "two go, one is held",
      20_000,
      async () => (await terminating()).length === 2 && (await record())?.message.includes("web-2"),
    );
    expect(await terminating()).toEqual(["alone", "web-1"]);
    expect((await record())?.message).toMatch(
      /^PodDisruptionBudget default\/web allows none of pod default\/web-2 to go \(The disruption budget web needs 1 healthy pods and has \d currently\); 2 more are ending$/,
    );
    expect(await spec()).toMatchObject({ unschedulable: true });

    worker.stop.abort();
    fixture.kill();
    await endTerminating();
    await begin();
    await allow(1);
    await eventually("the last one goes", 60_000, async () => (await terminating()).includes("web-2"));
    expect(await record()).toMatchObject({ phase: "draining" });
    await endTerminating();
    await eventually("it is drained", 60_000, async () => (await record())?.phase === "drained");
    expect((await api.podsOf(NODE_NAME, signal)).map(({ name }) => name).sort()).toEqual(["done", "proxy", "static"]);
    await want("release", 0);
    await eventually("it is let go", 60_000, async () => (await record()) === undefined);
    expect((await spec()).unschedulable).toBeUndefined();
    expect((await api.node(NODE_NAME, signal))?.annotations["drover.dev/cordoned"]).toBeUndefined();
  });

  it("lets a Node go whose drain came to its deadline", async () => {
    await putPod("web-3", { kind: "ReplicaSet" });
    await allow(0);
    await want("drain", 5_000);
    await eventually("it is cordoned", 60_000, async () => (await spec()).unschedulable === true);
    await eventually(
      "it timed out, and is let go",
      20_000,
      async () => (await record())?.phase === "timedOut" && (await spec()).unschedulable === undefined,
    );
    expect(await record()).toMatchObject({
      message: expect.stringMatching(/^not drained within 5s: PodDisruptionBudget default\/web/) as unknown,
    });
    expect(await terminating()).toEqual([]);
    await want("release", 0);
    await eventually("the record is gone", 60_000, async () => (await record()) === undefined);
  });

  it("evicts only the very pod that was seen, and finds one that has gone gone", async () => {
    const pod = { namespace: "default", name: "web-3", uid: "99999999-2222-3333-4444-555555555555" };
    await allow(1);
    await expect(api.evict(pod, signal)).rejects.toMatchObject({ code: "Conflict" });
    expect(await api.evict({ ...pod, name: "nobody" }, signal)).toEqual({ outcome: "gone" });
    expect(await terminating()).toEqual([]);
  });
});
