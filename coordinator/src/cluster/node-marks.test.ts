import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ClusterNode, ClusterTaint } from "./cluster-api.ts";
import { FakeClusterApi } from "./fake-cluster-api.ts";
import { isOurs, markPatch } from "./node-marks.ts";

const KEYS = ["a", "b", "c", "d"];
const EFFECTS = ["NoSchedule", "NoExecute"];
const id = ({ key, effect }: ClusterTaint): string => `${key}:${effect}`;
const taint = fc.record({ key: fc.constantFrom(...KEYS), value: fc.constantFrom("", "x"), effect: fc.constantFrom(...EFFECTS) });
const taints = fc.uniqueArray(taint, { selector: id, maxLength: 4 });
const labels = fc.dictionary(fc.constantFrom(...KEYS), fc.constantFrom("1", "2"));
const wanted = fc.record({ nodeLabels: labels, taints });

async function apply(api: FakeClusterApi, spec: Parameters<typeof markPatch>[2]): Promise<ClusterNode> {
  const patch = markPatch(api.stored.get("n")!, "aaaaaaaaaa", spec);
  if (patch !== undefined) await api.patchNode("n", patch);
  return api.stored.get("n")!;
}

describe("labels and taints of a Node", () => {
  it("become what the plan names, once, and what leaves the plan goes; what others put on under other names stays", async () => {
    const property = fc.asyncProperty(wanted, wanted, labels, taints, async (first, second, theirLabels, theirTaints) => {
      const api = new FakeClusterApi();
      const system = { key: "node.kubernetes.io/not-ready", value: "", effect: "NoSchedule", timeAdded: "2026-01-01T00:00:00Z" };
      api.putNode("n", { labels: theirLabels, taints: [system, ...theirTaints] });
      await apply(api, first);
      const node = await apply(api, second);
      expect(node.labels).toMatchObject(second.nodeLabels);
      for (const each of second.taints) expect(node.taints).toContainEqual(each);
      expect(node.taints).toContainEqual(system);
      for (const [key, value] of Object.entries(theirLabels)) {
        if (first.nodeLabels[key] === undefined && second.nodeLabels[key] === undefined) expect(node.labels[key]).toBe(value);
      }
      const named = new Set([...first.taints, ...second.taints].map(id));
      for (const each of theirTaints) if (!named.has(id(each))) expect(node.taints).toContainEqual(each);
      // Nothing of the first plan that the second does not name.
      const wantedIds = new Set(second.taints.map(id));
      for (const each of first.taints) if (!wantedIds.has(id(each))) expect(node.taints.map(id)).not.toContain(id(each));
      for (const key of Object.keys(first.nodeLabels)) if (second.nodeLabels[key] === undefined) expect(node.labels[key]).toBeUndefined();
      expect(new Set(node.taints.map(id)).size).toBe(node.taints.length);
      expect(markPatch(node, "aaaaaaaaaa", second)).toBeUndefined();
    });
    await fc.assert(property, { numRuns: 300 });
  });

  it("of Kubernetes itself are never touched, whatever a plan or the annotation says", () => {
    const api = new FakeClusterApi();
    const system = { key: "node.kubernetes.io/unreachable", value: "", effect: "NoExecute" };
    const managed = JSON.stringify({ labels: [], taints: ["node.kubernetes.io/unreachable:NoExecute"] });
    api.putNode("n", { taints: [system], annotations: { "drover.dev/managed": managed } });
    expect(markPatch(api.stored.get("n")!, "aaaaaaaaaa", { nodeLabels: {}, taints: [] })?.taints).toBeUndefined();
    api.putNode("n", { taints: [] });
    expect(markPatch(api.stored.get("n")!, "aaaaaaaaaa", { nodeLabels: {}, taints: [system] })?.taints).toBeUndefined();
  });

  it("of Kubernetes' own name are not taken away because the annotation says so, which a kubelet can write", () => {
    const api = new FakeClusterApi();
    const names = ["node-restriction.kubernetes.io/secure", "kubernetes.io/role", "sub.k8s.io/x", "k8s.io/y"];
    const taints = [...names, "ours"].map((key) => ({ key, value: "", effect: "NoSchedule" }));
    const managed = JSON.stringify({ labels: [...names, "notkubernetes.io/ours"], taints: taints.map(id) });
    const labels = Object.fromEntries([...names, "notkubernetes.io/ours"].map((key) => [key, "1"]));
    api.putNode("n", { labels, taints, annotations: { "drover.dev/managed": managed } });
    const patch = markPatch(api.stored.get("n")!, "aaaaaaaaaa", { nodeLabels: {}, taints: [] });
    expect(patch?.labels).toEqual({ "notkubernetes.io/ours": null });
    expect(patch?.taints?.map(({ key }) => key)).toEqual(names);
  });

  it.each(["{", "null", "[]", '{"labels":5,"taints":{"a":1}}', '"text"'])("count as nobody's when the annotation is %s", (text) => {
    const api = new FakeClusterApi();
    api.putNode("n", { labels: { a: "1" }, annotations: { "drover.dev/managed": text } });
    expect(markPatch(api.stored.get("n")!, "aaaaaaaaaa", { nodeLabels: { b: "2" }, taints: [] })?.labels).toEqual({ b: "2" });
  });

  it("tell whose a Node is", () => {
    const [A, B] = ["aaaaaaaaaa", "bbbbbbbbbb"];
    const label = { "drover.dev/node-set": "web" };
    const expected = (nodeId: string, mintedAtMs = 1, nodeName = "n", adoption = "uid") => ({
      nodeId,
      mintedAtMs,
      nodeName,
      adoption,
      cluster: "prod",
    });
    const whose = (given: Partial<ClusterNode>, ...records: ReturnType<typeof expected>[]): boolean => {
      const api = new FakeClusterApi();
      api.putNode("n", given);
      return isOurs(api.stored.get("n")!, A, "uid", records);
    };
    expect(whose({ annotations: { "drover.dev/node": A } })).toBe(true);
    expect(whose({ labels: label, annotations: { "drover.dev/node": B } }, expected(A))).toBe(false);
    expect(whose({ labels: label })).toBe(false);
    expect(whose({ labels: label }, expected(A))).toBe(true);
    expect(whose({}, expected(A))).toBe(false);
    expect(whose({ labels: label }, expected(A, 1, "m"))).toBe(false);
    expect(whose({ labels: label }, expected(A, 1, "n", "of another adoption"))).toBe(false);
    expect(whose({ labels: label }, expected(A, 1), expected(B, 2))).toBe(false);
    expect(whose({ labels: label }, expected(A, 2), expected(B, 1))).toBe(true);
    for (const key of ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"]) {
      expect(whose({ labels: { ...label, [key]: "" } }, expected(A))).toBe(false);
      expect(whose({ labels: label, taints: [{ key, value: "", effect: "NoSchedule" }] }, expected(A))).toBe(false);
    }
  });
});
