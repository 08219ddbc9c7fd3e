import { type NodeProfile, revisionOf } from "@drover/api";
import { Facts, Impact } from "@drover/proto";
import { expect, it } from "vitest";
import { Prospects } from "./prospects.ts";

const profile: NodeProfile = {
  apiVersion: "drover.dev/v1alpha1",
  kind: "NodeProfile",
  metadata: { name: "web" },
  spec: { containerd: { maxConcurrentDownloads: 3 } },
};

it("a node for which nothing can be made hides no impact on the others (I3)", () => {
  const target = { ok: true, profile, locks: [], membership: undefined, revision: revisionOf(profile, []) } as const;
  const prospects = new Prospects();
  const fresh = { before: undefined, isBeforeEnforced: false, drift: Impact.IMPACT_UNSPECIFIED };
  const running = (containerd: string) => ({ facts: Facts.fromPartial({ versions: { containerd } }) });
  expect(prospects.made(running("0.9").facts, target).obstacle).toBeDefined();
  expect(prospects.impact(fresh, target, 0, running("0.9")).bound).toBe(Impact.IMPACT_LIVE);
  expect(prospects.impact(fresh, target, 0, running("1.7.24")).bound).toBe(Impact.IMPACT_RESTART);
});
