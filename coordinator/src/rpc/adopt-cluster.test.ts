import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { API_VERSION, type Cluster } from "@drover/api";
import { seededRandom, VirtualClock } from "@drover/lifecycle";
import { listAudit } from "../audit/audit.ts";
import type { AdoptAnswer, AdoptRequest } from "../cluster/clusters.ts";
import { Refused } from "../refusal.ts";
import { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import { putJson } from "../store/values.ts";
import { adoptCluster } from "./adopt-cluster.ts";

const SECRET = "apiVersion: v1\nkind: Config\nusers: [canary]\n";
const cluster: Cluster = {
  apiVersion: API_VERSION,
  kind: "Cluster",
  metadata: { name: "prod" },
  spec: { endpoint: "10.0.0.5:6443", caCertHashes: [`sha256:${"0".repeat(64)}`] },
};

async function adopt(
  kubeconfig: Buffer,
  parts: { readonly name?: string; readonly answer?: AdoptAnswer; readonly isNone?: boolean; readonly bug?: Error } = {},
) {
  const clock = new VirtualClock();
  const store = memoryStore();
  const catalog = new Catalog(store);
  const stop = new AbortController();
  const running = catalog.run(stop.signal);
  const asked: AdoptRequest[] = [];
  const clusters = {
    adopt: async (request: AdoptRequest): Promise<AdoptAnswer> => {
      asked.push(request);
      if (parts.bug !== undefined) throw parts.bug;
      await store.commit([putJson(keys.object("Cluster", request.name), cluster, 0)]);
      return parts.answer ?? { ok: true, outcome: "created", warnings: ["the kubeconfig ends in 3 days"] };
    },
  };
  const view = {
    see: () => {
      const stored = catalog.objects("Cluster").get("prod");
      return stored && { object: stored.value, revision: stored.revision, labels: {} };
    },
  };
  const request = { name: parts.name ?? "prod", endpoint: "", kubeconfig };
  try {
    const adopted = await adoptCluster(
      { store, catalog, view, clock, random: seededRandom(1), clusters: parts.isNone === true ? undefined : clusters },
      request,
      "operator:ann",
    );
    return { adopted, asked, request, refusal: undefined };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { adopted: undefined, asked, request, refusal: error.refusal, audited: await listAudit(store, { limit: 0, actor: "" }) };
  } finally {
    stop.abort();
    await running;
    await store.close();
  }
}

describe("adopting a cluster", () => {
  it("hands the kubeconfig over as a secret, wipes it from the request, and answers the object as it is then seen", async () => {
    const { adopted, asked, request } = await adopt(Buffer.from(SECRET));
    expect(adopted).toMatchObject({ outcome: "created", warnings: ["the kubeconfig ends in 3 days"], seen: { object: cluster } });
    expect(asked).toMatchObject([{ name: "prod", endpoint: "", actor: "operator:ann" }]);
    expect(asked[0]!.kubeconfig.reveal()).toBe(SECRET);
    expect(request.kubeconfig.every((byte) => byte === 0)).toBe(true);
    expect(inspect([asked, request, adopted], { depth: null })).not.toContain("canary");
  });

  it("passes on why the cluster is not taken", async () => {
    const answer: AdoptAnswer = { ok: false, status: "UNAVAILABLE", reason: "ClusterUnreachable", message: "connection refused" };
    const { refusal, audited } = await adopt(Buffer.from(SECRET), { answer });
    expect(refusal).toEqual(answer);
    const audit = {
      actor: "operator:ann",
      action: "AdoptCluster",
      target: "Cluster/prod",
      outcome: "refused",
      message: "ClusterUnreachable",
    };
    expect(audited).toMatchObject([audit]);
  });

  it("fails without the words of an unexpected error, but with its kind and place", async () => {
    const bug = new SyntaxError(`at "users: [canary]"\n    users: [canary]`);
    const failure = (await adopt(Buffer.from(SECRET), { bug }).catch((error: unknown) => error)) as Error;
    expect(failure.message).toMatch(/^SyntaxError while a cluster was adopted/);
    expect(failure.stack).toContain("adopt-cluster.test.ts");
    expect(inspect(failure)).not.toContain("canary");
  });

  it.each([
    ["no kubeconfig", Buffer.alloc(0), {}, /kubeconfig is required/],
    ["one above 64 KiB", Buffer.alloc(65_537, "a"), {}, /65537 bytes, at most 65536/],
    ["one that is no text", Buffer.from([0xff, 0xfe, 0x63]), {}, /no UTF-8 text/],
    ["a name that is none", Buffer.from(SECRET), { name: "../prod" }, /name "\.\.\/prod" must be 1 to 63/],
    ["no name", Buffer.from(SECRET), { name: "" }, /name is required/],
    ["anything where clusters are not kept", Buffer.from(SECRET), { isNone: true }, /takes no clusters/],
  ])("refuses %s without asking anybody, and tells nothing of it", async (_what, kubeconfig, parts, says) => {
    const { refusal, asked, request } = await adopt(kubeconfig, parts);
    expect(refusal?.message).toMatch(says);
    expect(refusal?.message).not.toContain("canary");
    expect(asked).toEqual([]);
    expect(request.kubeconfig.every((byte) => byte === 0)).toBe(true);
  });
});
