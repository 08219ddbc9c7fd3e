import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Secret, VirtualClock } from "@drover/lifecycle";
import { keys } from "../store/keys.ts";
import { putJson } from "../store/values.ts";
import { ClusterApiError } from "./cluster-api.ts";
import { ClustersFixture } from "./clusters-fixture.ts";
import { FakeClusterApi } from "./fake-cluster-api.ts";
import { base64, testCertificate, testKubeconfig } from "./kubeconfig-fixture.ts";

const A = "aaaaaaaaaa";
const OURS = { labels: { "drover.dev/node-set": "web" }, annotations: { "drover.dev/node": A } };
const otherAuthority = await testCertificate(true);

describe("an adopted cluster", () => {
  let clock: VirtualClock;
  let api: FakeClusterApi;
  let fixture: ClustersFixture;
  let changed: string[];
  /** What happens while somebody adopts. */
  let meanwhile: (() => Promise<unknown>) | undefined;

  beforeEach(async () => {
    clock = new VirtualClock();
    api = new FakeClusterApi();
    meanwhile = undefined;
    fixture = new ClustersFixture(clock, async () => {
      const work = meanwhile;
      meanwhile = undefined;
      await work?.();
      return api;
    });
    fixture.start();
    await fixture.catalog.reached(0);
    changed = [];
    fixture.clusters.onChange((nodeId) => changed.push(nodeId));
  });
  afterEach(() => fixture.stop());

  const adopt = (parts: Parameters<typeof testKubeconfig>[0] = {}, endpoint = "") =>
    fixture.clusters.adopt(
      { name: "prod", endpoint, kubeconfig: new Secret(testKubeconfig(parts)), actor: "operator:ann" },
      new AbortController().signal,
    );
  const spec = () => {
    const object = fixture.view.see("Cluster", "prod")?.object;
    return object?.kind === "Cluster" ? object.spec : undefined;
  };
  const count = async (prefix: string): Promise<number> => (await fixture.store.list(prefix)).entries.length;

  it("is stored with its kubeconfig and audit records in one commit, and found unchanged when adopted again", async () => {
    api.missing = ["may not list nodes"];
    const answer = await adopt({ cluster: { server: "https://127.0.0.1:6443" } });
    expect(answer).toMatchObject({ ok: true, outcome: "created" });
    expect(answer.ok && answer.warnings).toEqual(["may not list nodes", expect.stringContaining("each machine itself")]);
    const [object, secret] = await Promise.all([
      fixture.store.get(keys.object("Cluster", "prod")),
      fixture.store.get(keys.secret("kubeconfig", "prod")),
    ]);
    expect(object?.revision).toBe(secret?.revision);
    expect(Buffer.from(secret!.value).toString()).not.toContain("canary-token");
    const audits = await count(keys.audits);
    expect(await adopt({ cluster: { server: "https://127.0.0.1:6443" } })).toMatchObject({ ok: true, outcome: "unchanged" });
    expect(await count(keys.audits)).toBe(audits);
    // Another credential of the same cluster.
    expect(await adopt({ cluster: { server: "https://127.0.0.1:6443" }, user: { token: "another" } })).toMatchObject({
      ok: true,
      outcome: "configured",
    });
  });

  it("keeps the endpoint that it has unless another is given", async () => {
    await adopt({}, "api.example:6443");
    expect(spec()?.endpoint).toBe("api.example:6443");
    await adopt({ user: { token: "another" } });
    expect(spec()?.endpoint).toBe("api.example:6443");
    expect(await adopt({}, "lb.example:443")).toMatchObject({ ok: true, outcome: "configured" });
    expect(spec()?.endpoint).toBe("lb.example:443");
    expect(await adopt({}, "no endpoint")).toMatchObject({ ok: false, reason: "InvalidObject" });
  });

  it("is not taken for another one: with another CA it is refused, until the object says that CA", async () => {
    await adopt();
    const other = { cluster: { "certificate-authority-data": base64(otherAuthority.certificate) } };
    const secretBefore = await fixture.store.get(keys.secret("kubeconfig", "prod"));
    expect(await adopt(other)).toMatchObject({ ok: false, reason: "ClusterDiffers" });
    expect((await fixture.store.get(keys.secret("kubeconfig", "prod")))?.revision).toBe(secretBefore?.revision);
  });

  const apply = async (kind: string, name: string, spec: object) => {
    const json = Buffer.from(JSON.stringify({ apiVersion: "drover.dev/v1alpha1", kind, metadata: { name }, spec }));
    return fixture.resources.apply({ json, expectedResourceVersion: 0, actor: "operator:ann" }, false);
  };
  const rollouts = (): (string | undefined)[] =>
    [...fixture.catalog.objects("Rollout").values()].map(({ value }) => `${value.metadata.name} ${value.status?.phase}`);

  it("keeps the CAs that its object names when a credential is renewed amid their rotation, and starts nothing", async () => {
    await adopt();
    const caCertHashes = [...spec()!.caCertHashes, `sha256:${"b".repeat(64)}`];
    await apply("Cluster", "prod", { endpoint: spec()!.endpoint, caCertHashes });
    await apply("NodeProfile", "web", { sysctl: { values: { "net.core.somaxconn": 4096 } } });
    expect(await apply("NodeSet", "web", { selector: { matchLabels: { role: "web" } }, profile: "web", cluster: "prod" })).toMatchObject({
      rollouts: ["web-1"],
    });
    expect(await adopt({ user: { token: "another" } })).toMatchObject({ ok: true, outcome: "configured", warnings: [] });
    expect(spec()?.caCertHashes).toEqual(caCertHashes);
    expect(rollouts()).toEqual(["web-1 Pending"]);
    // What does move its nodes is said.
    expect(await adopt({}, "lb.example:443")).toMatchObject({ warnings: [expect.stringContaining("starts Rollout/web-2")] });
  });

  it("does not try a stopped rollout again when its credential is renewed; applying the set does", async () => {
    await adopt();
    await apply("NodeProfile", "web", { sysctl: { values: { "net.core.somaxconn": 4096 } } });
    const set = { selector: { matchLabels: { role: "web" } }, profile: "web", cluster: "prod" };
    await apply("NodeSet", "web", set);
    const { value, revision } = fixture.catalog.objects("Rollout").get("web-1")!;
    await fixture.commit([putJson(keys.object("Rollout", "web-1"), { ...value, status: { ...value.status, phase: "Stopped" } }, revision)]);
    await adopt({ user: { token: "another" } });
    expect(rollouts()).toEqual(["web-1 Stopped"]);
    await apply("NodeSet", "web", set);
    expect(rollouts()).toEqual(["web-1 Superseded", "web-2 Pending"]);
  });

  it("takes no change back that somebody made while it was asked", async () => {
    const endpoint = "lb.example:443";
    const caCertHashes = [`sha256:${"b".repeat(64)}`];
    meanwhile = () => apply("Cluster", "prod", { endpoint, caCertHashes });
    expect(await adopt()).toMatchObject({ ok: false, reason: "Conflict", message: expect.stringContaining("by somebody else") });
    expect([spec(), await count(keys.secrets)]).toEqual([{ endpoint, caCertHashes }, 0]);
    await fixture.resources.remove({ kind: "Cluster", name: "prod", expectedResourceVersion: 0, actor: "operator:ann" }, false);
    await adopt();
    const own = spec()!;
    meanwhile = () => apply("Cluster", "prod", { ...own, endpoint });
    expect(await adopt({ user: { token: "another" } })).toMatchObject({ ok: false, reason: "Conflict" });
    expect(spec()?.endpoint).toBe(endpoint);
  });

  it("is not stored when it does not answer, or its kubeconfig cannot be used", async () => {
    api.failure = new ClusterApiError("Unreachable", "no route");
    expect(await adopt()).toMatchObject({ ok: false, reason: "ClusterUnreachable" });
    api.failure = new ClusterApiError("Unauthorized", "HTTP 401");
    expect(await adopt()).toMatchObject({ ok: false, reason: "ClusterRefused" });
    expect(await adopt({ user: { token: undefined } })).toMatchObject({ ok: false, reason: "InvalidKubeconfig" });
    expect([await count(keys.objectsOf("Cluster")), await count(keys.secrets)]).toEqual([0, 0]);
  });

  it("is listed each 30 s with members, each 5 s while one joins, seldom without", async () => {
    await adopt();
    const listsIn = async (ms: number): Promise<number> => {
      const before = api.listCount;
      await clock.advance(ms);
      return api.listCount - before;
    };
    await listsIn(10);
    expect(await listsIn(240_000)).toBe(0);
    await fixture.plan(A, "prod");
    expect(await listsIn(10)).toBe(1);
    const calm = await listsIn(300_000);
    expect(calm).toBeGreaterThanOrEqual(9);
    expect(calm).toBeLessThanOrEqual(11);
    await fixture.ask(A, "prod");
    const joining = await listsIn(60_000);
    expect(joining).toBeGreaterThanOrEqual(10);
    expect(joining).toBeLessThanOrEqual(14);
    api.putNode(`${A}-host`, OURS);
    await fixture.revoke(A);
    await listsIn(20_000);
    expect(await listsIn(300_000)).toBeLessThanOrEqual(11);
  });

  it("shows what its nodes are, and Unknown when it has not answered three times", async () => {
    await adopt();
    api.putNode(`${A}-host`, { ...OURS, ready: "False", reason: "KubeletNotReady", message: "cni" });
    await fixture.plan(A, "prod");
    await clock.advance(10);
    expect(fixture.clusters.kubernetesNodeOf(A)).toEqual({
      cluster: "prod",
      nodeName: `${A}-host`,
      ready: "False",
      reason: "KubeletNotReady",
      message: "cni",
      kubeletVersion: "v1.31.2",
    });
    expect(changed).toEqual([A]);
    api.putNode(`${A}-host`, { ...OURS, ready: "True" });
    await clock.advance(35_000);
    expect(fixture.clusters.statusOf("prod")).toMatchObject({ phase: "Available", nodes: 1, readyNodes: 1, kubernetesVersion: "v1.31.2" });
    api.failure = new ClusterApiError("Unreachable", "no route");
    for (let second = 0; second < 40 && fixture.clusters.statusOf("prod").phase === "Available"; second += 1) await clock.advance(1000);
    expect(fixture.clusters.statusOf("prod")).toMatchObject({ phase: "Unavailable", reason: "ClusterUnreachable", readyNodes: 1 });
    await clock.advance(15_000);
    expect(fixture.clusters.kubernetesNodeOf(A)).toMatchObject({ ready: "Unknown", reason: "ClusterUnreachable" });
    expect(fixture.clusters.statusOf("prod").readyNodes).toBe(0);
    const told = changed.length;
    api.failure = undefined;
    await clock.advance(40_000);
    expect(fixture.clusters.kubernetesNodeOf(A)).toMatchObject({ ready: "True" });
    expect(changed.length).toBe(told + 1);
  });

  it("does not show another machine's Node of the same name, and leaves its labels alone", async () => {
    await adopt();
    api.putNode(`${A}-host`, { labels: { ...OURS.labels }, annotations: { "drover.dev/node": "bbbbbbbbbb" } });
    await fixture.plan(A, "prod", 1, { nodeLabels: { "drover.dev/node-set": "db" } });
    await clock.advance(60_000);
    expect(fixture.clusters.kubernetesNodeOf(A)).toBeUndefined();
    expect(api.patches).toEqual([]);
  });

  it.each([
    ["Failed", 2],
    ["Forbidden", 1],
  ] as const)("that does not let one Node be changed (%s) is available all the same, and lets others be", async (code, asked) => {
    const B = "bbbbbbbbbb";
    await adopt();
    for (const id of [A, B]) {
      api.putNode(`${id}-host`, { labels: OURS.labels, annotations: { "drover.dev/node": id } });
      await fixture.plan(id, "prod");
    }
    await clock.advance(31_000);
    expect(api.patches).toHaveLength(2);
    let count = 0;
    api.hook = (what, moment) => {
      if (what !== "patchNode" || moment !== "before") return;
      count += 1;
      if (count === 1) throw new ClusterApiError(code, "a webhook says no");
    };
    for (const id of [A, B]) await fixture.plan(id, "prod", 2, { nodeLabels: { "drover.dev/node-set": "web", tier: "front" } });
    const lists = api.listCount;
    while (api.listCount === lists) await clock.advance(1000);
    await clock.advance(1000);
    expect([count, fixture.clusters.statusOf("prod").phase]).toEqual([asked, "Available"]);
    await clock.advance(65_000);
    expect([A, B].map((id) => api.stored.get(`${id}-host`)?.labels["tier"])).toEqual(["front", "front"]);
  });

  it("that answers what nobody can use is unavailable, and no more than that", async () => {
    await adopt();
    await fixture.plan(A, "prod");
    await clock.advance(10);
    api.hook = (what) => {
      if (what === "nodes") throw new TypeError("no text");
    };
    await clock.advance(35_000);
    expect(fixture.clusters.statusOf("prod")).toMatchObject({ phase: "Unavailable", message: expect.stringContaining("no text") });
    api.hook = () => undefined;
    await clock.advance(35_000);
    expect(fixture.clusters.statusOf("prod").phase).toBe("Available");
  });

  it("tries a label again after a conflict, and sets none while all decisions stand still", async () => {
    await adopt();
    await fixture.commit([putJson(keys.restored, {})]);
    api.putNode(`${A}-host`, OURS);
    await fixture.plan(A, "prod");
    await clock.advance(60_000);
    expect(api.patches).toEqual([]);
    let conflicts = 2;
    api.hook = (what, moment) => {
      if (what !== "patchNode" || moment !== "before" || (conflicts -= 1) < 0) return;
      api.putNode(`${A}-host`, { ...OURS, labels: { ...OURS.labels, conflict: String(conflicts) } });
    };
    await fixture.commit([{ type: "delete", key: keys.restored }]);
    await clock.advance(35_000);
    expect(api.patches).toHaveLength(1);
    expect(api.stored.get(`${A}-host`)).toMatchObject({ labels: { conflict: "0" }, annotations: { "drover.dev/node": A } });
  });
});
