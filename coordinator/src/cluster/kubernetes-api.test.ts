/** What is no Kubernetes at the other end; the real one is tried in the contract tests. */
import { createServer, type Server } from "node:https";
import { afterEach, describe, expect, it } from "vitest";
import { Secret, systemClock, VirtualClock } from "@drover/lifecycle";
import type { ClusterApi } from "./cluster-api.ts";
import { readKubeconfig } from "./kubeconfig.ts";
import { authority, base64, testCertificate, testKubeconfig } from "./kubeconfig-fixture.ts";
import { connectKubernetes } from "./kubernetes-api.ts";

const served = await testCertificate(true);
const { signal } = new AbortController();
const open: { readonly server: Server; readonly api: ClusterApi }[] = [];

afterEach(async () => {
  for (const { server, api } of open.splice(0)) {
    await api.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** @param answer undefined: none, ever */
async function facing(answer: Answer | undefined | ((url: string) => Answer), { isTrusted = true, clock = systemClock } = {}) {
  const seen: (string | undefined)[] = [];
  const server = createServer({ cert: served.certificate, key: served.key }, (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers["user-agent"]} ${request.headers.authorization}`);
    const { status, body } = (typeof answer === "function" ? answer(request.url ?? "") : answer) ?? {};
    if (status !== undefined) response.writeHead(status, { "content-type": "application/json" }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const trusted = isTrusted ? served.certificate : authority.certificate;
  const cluster = { server: `https://127.0.0.1:${port}`, "certificate-authority-data": base64(trusted), "tls-server-name": "kubernetes" };
  const reading = readKubeconfig(new Secret(testKubeconfig({ cluster })), systemClock.now());
  if (!reading.ok) throw new Error(reading.problems.join("; "));
  const api = await connectKubernetes(reading.kubeconfig, clock);
  open.push({ server, api });
  return { api, seen };
}

const token = {
  tokenId: "abcdef",
  secret: new Secret("canarycanary1234"),
  expiresAtMs: 0,
  description: "",
  nodeId: "aaaaaaaaaa",
  adoption: "uid",
};

describe("what answers instead of a cluster", () => {
  it.each([
    "{}",
    "[]",
    "null",
    "<html>",
    '{"items":[{"metadata":{"name":"n"},"spec":{"taints":[{"effect":"NoSchedule"}]}}]}',
    '{"items":5}',
    '{"items":[{"metadata":5}]}',
    '{"items":[null]}',
    "",
  ])("by %s is an error of the cluster, never of the coordinator", async (body) => {
    const { api } = await facing({ status: 200, body });
    for (const call of [() => api.nodes(signal), () => api.node("n", signal), () => api.version(signal)]) {
      await expect(call()).rejects.toMatchObject({ name: "ClusterApiError", code: "Unreachable" });
    }
  });

  it.each([
    [401, "Unauthorized"],
    [403, "Forbidden"],
    [404, "NotFound"],
    [409, "Conflict"],
    [429, "Failed"],
    [500, "Failed"],
  ])("HTTP %i is %s, and what it says of a token is not passed on", async (status, code) => {
    const { api, seen } = await facing({ status, body: JSON.stringify({ message: "canarycanary1234 is wrong" }) });
    const error = await api.createBootstrapToken(token, signal).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code });
    expect(String((error as Error).stack)).not.toContain("canarycanary");
    expect(seen).toEqual(["POST /api/v1/namespaces/kube-system/secrets drover-coordinator Bearer canary-token"]);
  });

  it("by another CA is not spoken to", async () => {
    const { api, seen } = await facing({ status: 200, body: "{}" }, { isTrusted: false });
    await expect(api.version(signal)).rejects.toMatchObject({
      code: "Unreachable",
      message: expect.stringContaining("not by the CA of the kubeconfig"),
    });
    expect(seen).toEqual([]);
  });

  it("never is given up after 10 s, or when nobody waits any more", async () => {
    const clock = new VirtualClock();
    const { api, seen } = await facing(undefined, { clock });
    const hanging = api.version(signal).catch((error: unknown) => error);
    await expect.poll(() => seen.length).toBe(1);
    await clock.advance(10_000);
    expect(await hanging).toMatchObject({ code: "Unreachable", message: expect.stringContaining("no answer in 10 s") });
    const left = new AbortController();
    const abandoned = api.version(left.signal).catch((error: unknown) => error);
    left.abort();
    expect(await abandoned).toMatchObject({ code: "Unreachable" });
  });
});

describe("an eviction", () => {
  const pod = { namespace: "default", name: "web-1", uid: "u" };
  const budget = { reason: "DisruptionBudget", message: "The disruption budget web needs 2 healthy pods and has 2 currently" };
  const evicting = (status: number, body: object, version = "v1") =>
    facing((url) => {
      const discovery = { groupVersion: "v1", resources: [{ name: "pods/eviction", group: "policy", version, kind: "Eviction" }] };
      return url === "/api/v1" ? { status: 200, body: JSON.stringify(discovery) } : { status, body: JSON.stringify(body) };
    });

  it("that a budget does not let happen is no error, and names the budget", async () => {
    const { api, seen } = await evicting(429, { message: "Cannot evict pod", details: { causes: [budget] } });
    expect(await api.evict(pod, signal)).toEqual({ outcome: "held", budget: "web", message: budget.message });
    expect(seen.at(-1)).toMatch(/^POST \/api\/v1\/namespaces\/default\/pods\/web-1\/eviction /);
  });

  it.each([
    [{ message: "Too many requests, please try again later." }, "Too many requests, please try again later."],
    [{ details: { causes: [null, { ...budget, message: 5 }] } }, "too many requests"],
    [{ details: { causes: 7 } }, "too many requests"],
  ])("that the server holds for another reason (%j) names no budget", async (body, message) => {
    const { api } = await evicting(429, body);
    expect(await api.evict(pod, signal)).toEqual({ outcome: "held", budget: undefined, message });
  });

  it("of a pod that is not there has happened; of another pod of its name is a conflict", async () => {
    expect(await (await evicting(404, {})).api.evict(pod, signal)).toEqual({ outcome: "gone" });
    await expect((await evicting(409, {})).api.evict(pod, signal)).rejects.toMatchObject({ code: "Conflict" });
  });

  it("is not asked for where the cluster has none", async () => {
    const { api } = await facing({ status: 200, body: JSON.stringify({ groupVersion: "v1", resources: [] }) });
    await expect(api.evict(pod, signal)).rejects.toMatchObject({ code: "Failed", message: expect.stringContaining("no pods/eviction") });
  });
});
