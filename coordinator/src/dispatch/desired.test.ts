import type { Cluster, NodeProfile } from "@drover/api";
import { Facts, Impact, Plan } from "@drover/proto";
import { expect, it } from "vitest";
import type { DesiredNode } from "../records.ts";
import { makeDesired } from "./desired.ts";

const SYSCTL = { sysctl: { values: { "vm.swappiness": 10 } } };
const CONTAINERD = { containerd: { sandboxImage: "registry.k8s.io/pause:3.10" } };

function decided(
  spec: object,
  before: DesiredNode | undefined,
  isBeforeEnforced: boolean,
  more: { readonly drift?: Impact; readonly confirmDeadlineMs?: number } = {},
): DesiredNode {
  const profile = { apiVersion: "drover.dev/v1alpha1", kind: "NodeProfile", metadata: { name: "p" }, spec } as unknown as NodeProfile;
  const about = { nodeId: "abcdefghij", nodeSet: "s", rollout: "s-1", locks: [], membership: undefined, facts: undefined };
  const making = makeDesired({ ...about, profile, planEpoch: 1, before, isBeforeEnforced, nowMs: 1, ...more });
  if (!making.ok) throw new Error(making.message);
  return making.desired;
}

const planOf = ({ plan }: DesiredNode): Plan => Plan.decode(Buffer.from(plan, "base64"));

const boundOf = (desired: DesiredNode): Impact => planOf(desired).impactBound;

it("a plan may disturb the node as far as it goes beyond what is enforced", () => {
  const first = decided({ ...SYSCTL, ...CONTAINERD }, undefined, false);
  expect(boundOf(first)).toBe(Impact.IMPACT_RESTART);
  expect(boundOf(decided({ sysctl: { values: { "vm.swappiness": 20 } }, ...CONTAINERD }, first, true))).toBe(Impact.IMPACT_LIVE);
  expect(boundOf(decided(SYSCTL, first, true))).toBe(Impact.IMPACT_RESTART);
});

it("after a plan that was not enforced it may put back what that one, or one before it, may have left on the node", () => {
  const enforced = decided({ ...SYSCTL, ...CONTAINERD }, undefined, false);
  const failed = decided({ ...SYSCTL, containerd: { sandboxImage: "registry.k8s.io/pause:3.11" } }, enforced, true);
  expect(boundOf(decided(SYSCTL, failed, false))).toBe(Impact.IMPACT_RESTART);
  const failedWithout = decided(SYSCTL, enforced, true);
  expect(boundOf(decided({ sysctl: { values: { "vm.swappiness": 20 } } }, failedWithout, false))).toBe(Impact.IMPACT_RESTART);
});

it("the same revision once more may mend the drift that it is for", () => {
  const first = decided(CONTAINERD, undefined, false);
  expect(boundOf(decided(CONTAINERD, first, true))).toBe(Impact.IMPACT_LIVE);
  expect(boundOf(decided(CONTAINERD, first, true, { drift: Impact.IMPACT_RESTART }))).toBe(Impact.IMPACT_RESTART);
});

it("I4: a change that can cut the node off carries the strategy's deadline, any other none, and the revision knows nothing of it", () => {
  const first = decided({ ...SYSCTL, ...CONTAINERD }, undefined, false);
  expect(planOf(first).confirmDeadlineMs).toBe(120_000);
  const calm = decided({ sysctl: { values: { "vm.swappiness": 20 } }, ...CONTAINERD }, first, true, { confirmDeadlineMs: 30_000 });
  expect(planOf(calm).confirmDeadlineMs).toBe(0);
  const risky = { ...SYSCTL, containerd: { sandboxImage: "registry.k8s.io/pause:3.11" } };
  const short = decided(risky, first, true, { confirmDeadlineMs: 30_000 });
  expect(planOf(short).confirmDeadlineMs).toBe(30_000);
  expect(short.revision).toBe(decided(risky, first, true, { confirmDeadlineMs: 60_000 }).revision);
});

it("a member keeps its name in the cluster, whatever its machine calls itself, until it rejoins", () => {
  const cluster = { metadata: { name: "lab" }, spec: { endpoint: "10.0.0.5:6443", caCertHashes: ["sha256:aa"] } } as Cluster;
  const profile = (spec: object): NodeProfile => ({ metadata: { name: "p" }, spec }) as NodeProfile;
  const decide = (
    hostname: string,
    rejoin: number,
    before: DesiredNode | undefined,
  ): { name: string | undefined; impact: Impact; desired: DesiredNode } => {
    const making = makeDesired({
      nodeId: "abcdefghij",
      nodeSet: "s",
      rollout: "s-1",
      locks: [],
      profile: profile({ sysctl: { values: { "vm.swappiness": before === undefined ? 10 : 20 } } }),
      membership: { cluster, nodeSet: "s", rejoin },
      facts: Facts.fromPartial({ hostname }),
      planEpoch: 1,
      before,
      isBeforeEnforced: before !== undefined,
      nowMs: 1,
    });
    if (!making.ok) throw new Error(making.message);
    const plan = Plan.decode(Buffer.from(making.desired.plan, "base64"));
    const spec = plan.steps.find(({ id }) => id === "kubeadm")?.spec;
    return { name: spec?.$case === "kubeadm" ? spec.value.nodeName : undefined, impact: plan.impactBound, desired: making.desired };
  };
  const first = decide("web-1", 0, undefined);
  expect(first.name).toBe("web-1");
  expect(decide("localhost", 0, first.desired)).toMatchObject({ name: "web-1", impact: Impact.IMPACT_LIVE });
  expect(decide("web-1.example", 1, first.desired)).toMatchObject({ name: "web-1.example", impact: Impact.IMPACT_DRAIN });
});
