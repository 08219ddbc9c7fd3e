import { describe, expect, it } from "vitest";
import { Impact, KubeadmSpec, Plan, SysctlSpec } from "@drover/proto";
import type { DesiredNode } from "../records.ts";
import { desiredAgain } from "./desired-again.ts";

const told = Plan.create({
  nodeId: "aaaaaaaaaa",
  planEpoch: 1,
  generation: 7,
  revision: "sha256:a",
  issuedAtMs: 1_000,
  expiresAtMs: 86_401_000,
  impactBound: Impact.IMPACT_LIVE,
  confirmDeadlineMs: 120_000,
  nodeSet: "web",
  rollout: "web-3",
  steps: [
    { id: "sysctl", spec: { $case: "sysctl", value: SysctlSpec.create({ values: { "vm.swappiness": "1" } }) } },
    { id: "kubeadm", spec: { $case: "kubeadm", value: KubeadmSpec.create({ cluster: "prod", nodeName: "old", rejoin: 2 }) } },
  ],
});
const before: DesiredNode = {
  nodeId: "aaaaaaaaaa",
  planEpoch: 1,
  generation: 7,
  revision: "sha256:a",
  nodeSet: "web",
  rollout: "web-3",
  plan: Buffer.from(Plan.encode(told).finish()).toString("base64"),
  decidedAtMs: 1_000,
  enforcedAtMs: 2_000,
  rejoin: 2,
};
const planOf = ({ plan }: DesiredNode): Plan => Plan.decode(Buffer.from(plan, "base64"));

describe("what is desired, once more", () => {
  it("has a pair that rises (I2), is fresh, and may disturb what any of its steps may", () => {
    const again = desiredAgain({ before, planEpoch: 1, rejoin: undefined, nowMs: 10_000 });
    expect(again).toMatchObject({ generation: 8, planEpoch: 1, revision: "sha256:a", rollout: "web-3", decidedAtMs: 10_000, rejoin: 2 });
    expect(again.enforcedAtMs).toBeUndefined();
    const plan = planOf(again);
    expect(plan).toMatchObject({
      generation: 8,
      issuedAtMs: 10_000,
      expiresAtMs: 86_410_000,
      confirmDeadlineMs: 120_000,
      impactBound: Impact.IMPACT_DRAIN,
    });
    expect(plan.steps).toEqual(told.steps);
    expect(desiredAgain({ before, planEpoch: 4, rejoin: undefined, nowMs: 10_000 })).toMatchObject({ planEpoch: 4, generation: 8 });
  });

  it("rejoins under the name that the machine has now, or as before where that is not known", () => {
    const rejoin = (nodeName: string) => desiredAgain({ before, planEpoch: 1, rejoin: { count: 3, nodeName }, nowMs: 10_000 });
    expect(rejoin("new").rejoin).toBe(3);
    const named = (nodeName: string) => planOf(rejoin(nodeName)).steps[1]?.spec?.value as KubeadmSpec;
    expect([named("new").rejoin, named("new").nodeName, named("").nodeName]).toEqual([3, "new", "old"]);
  });
});
