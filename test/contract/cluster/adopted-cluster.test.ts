/** Adopted clusters against a real kube-apiserver: what a bootstrap token lets in, Ready, labels and taints, and what a killed coordinator leaves. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret, systemClock } from "@drover/lifecycle";
import type { ClusterApi } from "../../../coordinator/src/cluster/cluster-api.ts";
import { ClustersFixture, JOIN_STEP } from "../../../coordinator/src/cluster/clusters-fixture.ts";
import { readKubeconfig } from "../../../coordinator/src/cluster/kubeconfig.ts";
import { connectKubernetes } from "../../../coordinator/src/cluster/kubernetes-api.ts";
import { keys } from "../../../coordinator/src/store/keys.ts";
import { eventually } from "../../testbed/program.ts";
import { findKubernetesBinaries, noKubernetesBinaries } from "../../testbed/roots/kubernetes-binaries.ts";
import { type KubeApiServer, startKubeApiServer } from "./kube-api-server.ts";

const binaries = await findKubernetesBinaries();
const why = binaries === undefined ? ` (skipped: ${noKubernetesBinaries})` : "";
const NODE = "aaaaaaaaaa";
const { signal } = new AbortController();

async function connected(kubeconfig: string): Promise<ClusterApi> {
  const reading = readKubeconfig(new Secret(kubeconfig), systemClock.now());
  if (!reading.ok) throw new Error(reading.problems.join("; "));
  return connectKubernetes(reading.kubeconfig, systemClock);
}

function nodeJson(name: string, ready: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "drover.dev/node-set": "old", theirs: "1" } },
    spec: { taints: [{ key: "theirs", effect: "NoSchedule" }] },
    status: {
      conditions: [{ type: "Ready", status: ready, reason: "KubeletReady", message: "posting" }],
      nodeInfo: { kubeletVersion: "v1.20.2" },
    },
  });
}

const keysOf = (taints: readonly { readonly key: string }[]): string[] => taints.map(({ key }) => key).sort();

describe.skipIf(binaries === undefined)(`a cluster with a real kube-apiserver${why}`, () => {
  let server: KubeApiServer;
  let fixture: ClustersFixture;
  let api: ClusterApi;

  beforeAll(async () => {
    server = await startKubeApiServer(binaries!);
    api = await connected(server.adminKubeconfig);
    fixture = new ClustersFixture(systemClock, connectKubernetes);
    fixture.start();
    await fixture.catalog.reached(0);
  });
  afterAll(async () => {
    await fixture?.stop();
    await api?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const liveTokens = async (): Promise<readonly string[]> => {
    const text = await server.kubectl(
      "-n",
      "kube-system",
      "get",
      "secrets",
      "-o",
      "name",
      "--field-selector=type=bootstrap.kubernetes.io/token",
    );
    return text.split("\n").filter((line) => line !== "");
  };
  const adopt = (kubeconfig: string) =>
    fixture.clusters.adopt({ name: "prod", endpoint: "", kubeconfig: new Secret(kubeconfig), actor: "operator:ann" }, signal);

  it("is adopted by the kubeconfig that kubeadm made, with the CA hash as openssl computes it", async () => {
    expect(await adopt(server.adminKubeconfig)).toMatchObject({ ok: true, outcome: "created" });
    const object = fixture.view.see("Cluster", "prod")?.object;
    expect(object?.spec).toEqual({ endpoint: server.endpoint, caCertHashes: [server.caCertHash] });
    await eventually("the cluster answers", 60_000, () => fixture.clusters.statusOf("prod").phase === "Available");
    expect(fixture.clusters.statusOf("prod")).toMatchObject({ kubernetesVersion: "v1.20.2", nodes: 0 });
    expect(await adopt(server.adminKubeconfig)).toMatchObject({ ok: true, outcome: "unchanged" });
  });

  it("stores nothing of the kubeconfig in clear", async () => {
    const { entries } = await fixture.store.list("");
    const text = entries.map(({ value }) => Buffer.from(value).toString("utf8")).join("\n");
    const [, key] = /client-key-data: (\S+)/.exec(server.adminKubeconfig)!;
    expect([text.includes(key!), text.includes(keys.secret("kubeconfig", "prod")), text.includes("PRIVATE KEY")]).toEqual([
      false,
      false,
      false,
    ]);
    expect(await fixture.store.get(keys.secret("kubeconfig", "prod"))).toBeDefined();
  });

  it("refuses a token that nobody knows, and tells what somebody may not do", async () => {
    const unknown = await adopt(server.tokenKubeconfig("of-nobody"));
    expect(unknown).toMatchObject({ ok: false, reason: "ClusterRefused" });
    const nobody = await connected(server.tokenKubeconfig());
    const missing = await nobody.missingAccess(signal);
    expect(missing).toContain("the kubeconfig's user may not create secrets in kube-system: nodes cannot join");
    expect(missing).toContain("the kubeconfig's user may not list pods: no node is drained");
    expect(missing).toContain("the kubeconfig's user may not create pods/eviction: no node is drained");
    await expect(nobody.nodes(signal)).rejects.toMatchObject({ code: "Forbidden" });
    await nobody.close();
  });

  it("lets a node in by its token until it has reported, and no longer", async () => {
    await fixture.plan(NODE, "prod");
    const answer = await fixture.ask(NODE, "prod");
    if (!answer.ok) throw new Error(answer.message);
    const token = answer.token.reveal();
    expect(token).toMatch(/^[a-z0-9]{6}\.[a-z0-9]{16}$/);
    // Who the token is for may do little, but is somebody: 403, not 401.
    await eventually("the token is known", 60_000, async () => (await server.statusOf("/api/v1/nodes", token)) === 403);
    expect(await liveTokens()).toEqual([`secret/bootstrap-token-${token.slice(0, 6)}`]);
    const secret = JSON.parse(
      await server.kubectl("-n", "kube-system", "get", `secret/bootstrap-token-${token.slice(0, 6)}`, "-o", "json"),
    ) as {
      data: Record<string, string>;
      metadata: { labels: Record<string, string> };
    };
    const decoded = Object.fromEntries(Object.entries(secret.data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));
    expect(decoded).toMatchObject({
      "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
      "usage-bootstrap-authentication": "true",
      "usage-bootstrap-signing": "true",
    });
    expect(Math.abs(Date.parse(decoded["expiration"]!) - answer.expiresAtMs)).toBeLessThan(1000);
    expect(secret.metadata.labels["drover.dev/node"]).toBe(NODE);

    fixture.fleet.report(NODE, { steps: [{ step: JOIN_STEP, outcome: "changed", atUnixMs: 5 } as never] });
    await eventually("the token has gone", 60_000, async () => (await liveTokens()).length === 0 && (await fixture.records()).length === 0);
    await eventually("nobody is let in", 60_000, async () => (await server.statusOf("/api/v1/nodes", token)) === 401);
  });

  it("shows Ready, brings labels and taints to what the plan names, and leaves those of others", async () => {
    await server.kubectl("apply", "--validate=false", "-f", await server.file("node.json", nodeJson(`${NODE}-host`, "True")));
    const taints = [{ key: "ours", value: "x", effect: "NoExecute" }];
    const nodeLabels = { "drover.dev/node-set": "web", tier: "front" };
    await fixture.plan(NODE, "prod", 2, { nodeLabels, taints });
    await adopt(server.adminKubeconfig);
    await eventually("labels and taints", 60_000, async () => {
      const node = await api.node(`${NODE}-host`, signal);
      return node?.labels["tier"] === "front" && keysOf(node.taints).includes("ours");
    });
    const node = await api.node(`${NODE}-host`, signal);
    expect(node?.labels).toMatchObject({ ...nodeLabels, theirs: "1" });
    // The admission of the API server itself has put the first one on.
    expect(keysOf(node!.taints)).toEqual(["node.kubernetes.io/not-ready", "ours", "theirs"]);
    expect(node?.taints).toContainEqual({ key: "ours", value: "x", effect: "NoExecute" });
    expect(fixture.clusters.kubernetesNodeOf(NODE)).toMatchObject({ ready: "True", kubeletVersion: "v1.20.2", nodeName: `${NODE}-host` });
    const seen = fixture.view.see("Node", NODE)?.object;
    expect(seen?.kind === "Node" && seen.status?.conditions).toMatchObject([{ type: "KubernetesReady", status: "True" }]);

    await fixture.plan(NODE, "prod", 3, { nodeLabels: { "drover.dev/node-set": "web" }, taints: [] });
    await adopt(server.adminKubeconfig);
    await eventually("what left the plan is gone", 60_000, async () => {
      const left = await api.node(`${NODE}-host`, signal);
      return left?.labels["tier"] === undefined && !keysOf(left!.taints).includes("ours");
    });
    expect((await api.node(`${NODE}-host`, signal))?.labels).toMatchObject({ theirs: "1", "drover.dev/node-set": "web" });
    expect(keysOf((await api.node(`${NODE}-host`, signal))!.taints)).toEqual(["node.kubernetes.io/not-ready", "theirs"]);
  });

  it("changes a Node only as it was seen, and deletes only the one that was seen", async () => {
    const before = (await api.node(`${NODE}-host`, signal))!;
    await server.kubectl("label", "node", `${NODE}-host`, "more=1");
    const patch = { resourceVersion: before.resourceVersion, labels: { a: "b" }, annotations: {}, taints: undefined };
    await expect(api.patchNode(`${NODE}-host`, patch, signal)).rejects.toMatchObject({ code: "Conflict" });
    await expect(api.deleteNode({ name: `${NODE}-host`, uid: "00000000-0000-0000-0000-000000000000" }, signal)).rejects.toMatchObject({
      code: "Conflict",
    });
    expect(await api.node("nobody", signal)).toBeUndefined();
  });

  it("reads a Lease: when it was renewed, that it moved, that there is none, that we may not", async () => {
    const lease = { namespace: "kube-node-lease", name: `${NODE}-host` };
    const renewed = async (renewTime: string): Promise<void> => {
      const object = {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: lease,
        spec: { holderIdentity: lease.name, renewTime },
      };
      await server.kubectl("apply", "--validate=false", "-f", await server.file("lease.json", JSON.stringify(object)));
    };
    expect(await api.lease(lease, signal)).toBeUndefined();
    await renewed("2026-01-02T03:04:05.123456Z");
    expect(await api.lease(lease, signal)).toEqual({ renewTimeMs: Date.UTC(2026, 0, 2, 3, 4, 5, 123) });
    await renewed("2026-01-02T03:04:15.123456Z");
    expect(await api.lease(lease, signal)).toEqual({ renewTimeMs: Date.UTC(2026, 0, 2, 3, 4, 15, 123) });
    const nobody = await connected(server.tokenKubeconfig());
    await expect(nobody.lease(lease, signal)).rejects.toMatchObject({ code: "Forbidden" });
    expect(await nobody.missingAccess(signal)).toContain(
      "the kubeconfig's user may not get leases in kube-node-lease: a silent node's Lease is no evidence",
    );
    expect(await api.missingAccess(signal)).toEqual([]);
    await nobody.close();
  });

  it("takes the Node that a machine left there away before it joins again under the name", async () => {
    expect(await fixture.ask(NODE, "prod", 3)).toMatchObject({ ok: true });
    expect(await api.node(`${NODE}-host`, signal)).toBeUndefined();
  });

  it("is left without a token when the coordinator died right after making one, once the next has swept", async () => {
    fixture.kill();
    const { store } = fixture;
    // The next process: its store knows nothing of the token, as if it had died between two commits.
    for (const record of await fixture.records()) await store.commit([{ type: "delete", key: keys.bootstrapToken(record.tokenId) }]);
    expect(await liveTokens()).toHaveLength(1);
    fixture.start();
    await eventually("the token has gone", 60_000, async () => (await liveTokens()).length === 0);
  });

  it("says that a cluster is unreachable, and that it is back", async () => {
    await server.stop();
    await expect(api.version(signal)).rejects.toMatchObject({ code: "Unreachable" });
    expect(await fixture.ask(NODE, "prod", 3)).toMatchObject({ ok: false, reason: "ClusterUnreachable" });
    expect(await adopt(server.adminKubeconfig)).toMatchObject({ ok: false, reason: "ClusterUnreachable" });
    await server.start();
    expect(await fixture.ask(NODE, "prod", 3)).toMatchObject({ ok: true });
    await fixture.revoke(NODE);
    await eventually("a revoked node's token has gone", 60_000, async () => (await liveTokens()).length === 0);
    expect(await fixture.ask(NODE, "prod", 3)).toMatchObject({ ok: false, reason: "NotPlanned" });
  });
});
