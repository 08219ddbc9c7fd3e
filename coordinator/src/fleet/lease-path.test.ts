import { VirtualClock } from "@drover/lifecycle";
import { beforeEach, describe, expect, it } from "vitest";
import { ClusterApiError } from "../cluster/cluster-api.ts";
import { FakeClusterApi } from "../cluster/fake-cluster-api.ts";
import { LeasePath } from "./lease-path.ts";

const A = "aaaaaaaaaa";
const LEASE = "kube-node-lease/a-host";
const WITNESS = "kube-system/kube-controller-manager";

describe("the Lease of a silent node", () => {
  let clock: VirtualClock;
  let api: FakeClusterApi;
  let path: LeasePath;
  let calls: string[];

  beforeEach(() => {
    clock = new VirtualClock();
    api = new FakeClusterApi();
    calls = [];
    api.hook = (what, moment) => void (moment === "before" && calls.push(what));
    path = new LeasePath({
      clock,
      kubernetesNodeOf: (nodeId) => (nodeId === A ? { cluster: "prod", nodeName: "a-host" } : undefined),
      apiOf: (cluster) => Promise.resolve(cluster === "prod" ? api : undefined),
    });
    api.leases.set(LEASE, { renewTimeMs: 1_000 }).set(WITNESS, { renewTimeMs: 1_000 });
    api.putNode("a-host", { ready: "Unknown" });
  });

  /** @param between what happens between the two readings */
  const asked = async (between: () => void): Promise<string> => {
    const answer = path.ask(A, new AbortController().signal);
    await clock.advance(11_000);
    between();
    await clock.advance(11_000);
    return answer;
  };
  const witnessMoves = (): void => void api.leases.set(WITNESS, { renewTimeMs: 12_000 });

  it.each<[string, () => void, () => void, string]>([
    ["that is renewed", () => undefined, () => void api.leases.set(LEASE, { renewTimeMs: 9_000 }), "alive"],
    ["that is renewed by a clock that went back", () => undefined, () => void api.leases.set(LEASE, { renewTimeMs: 500 }), "alive"],
    ["that stands still", () => undefined, witnessMoves, "dead"],
    ["that stands still though the node was Ready", () => api.putNode("a-host", { ready: "True" }), witnessMoves, "dead"],
    ["that stands still with all others, in a cluster that stores nothing", () => undefined, () => undefined, "none"],
    ["that stands still, where nobody leads", () => void api.leases.delete(WITNESS), () => undefined, "none"],
    ["that is not there, of a node lost to its cluster", () => void api.leases.delete(LEASE), witnessMoves, "dead"],
    [
      "that is not there, of a node that was Ready",
      () => {
        api.leases.delete(LEASE);
        api.putNode("a-host", { ready: "True" });
      },
      witnessMoves,
      "none",
    ],
    [
      "that is not there, of a node whose kubelet says that it is not Ready",
      () => {
        api.leases.delete(LEASE);
        api.putNode("a-host", { ready: "False" });
      },
      witnessMoves,
      "none",
    ],
    [
      "that goes away between the readings",
      () => undefined,
      () => {
        witnessMoves();
        api.leases.delete(LEASE);
        api.stored.clear();
      },
      "none",
    ],
    [
      "that was never renewed",
      () => void api.leases.set(LEASE, { renewTimeMs: undefined }),
      () => {
        witnessMoves();
        api.stored.clear();
      },
      "none",
    ],
    ["of a cluster that does not answer", () => void (api.failure = new ClusterApiError("Unreachable", "gone")), () => undefined, "none"],
    ["of a cluster that stops answering", () => undefined, () => void (api.failure = new ClusterApiError("Unreachable", "gone")), "none"],
    ["of a cluster where we may not read it", () => void (api.failure = new ClusterApiError("Forbidden", "no")), () => undefined, "none"],
  ])("%s", async (_case, before, between, expected) => {
    before();
    expect(await asked(between)).toBe(expected);
  });

  it("is read twice, 12 s apart, and the Node itself only where there is no Lease", async () => {
    await asked(witnessMoves);
    expect(calls).toEqual(["lease", "lease", "lease", "lease"]);
  });

  it("is no evidence when the API hangs: each call has its deadline", async () => {
    api.lease = () => new Promise(() => undefined);
    const answer = path.ask(A, new AbortController().signal);
    await clock.advance(40_000);
    expect(await answer).toBe("none");
  });

  it("is looked for only in a cluster", async () => {
    expect([path.hasPath(A), path.hasPath("bbbbbbbbbb")]).toEqual([true, false]);
    expect(await path.ask("bbbbbbbbbb", new AbortController().signal)).toBe("none");
  });

  it("is not waited for when nobody wants to know any more", async () => {
    const stop = new AbortController();
    const answer = path.ask(A, stop.signal);
    await clock.advance(1_000);
    stop.abort();
    await expect(answer).rejects.toThrow();
  });
});
