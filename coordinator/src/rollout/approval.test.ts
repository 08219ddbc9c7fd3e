import { describe, expect, it } from "vitest";
import { approvalDigest, IMPACTS, isApprovedBy } from "./approval.ts";

const SHOWN = { revision: "A", strategyDigest: "plain", wave: 2, nodes: 9, impact: "restart" } as const;

describe("an approval", () => {
  it("is of everything that was shown", () => {
    const others = [{ revision: "B" }, { strategyDigest: "other" }, { wave: 3 }, { nodes: 10 }, { impact: "live" as const }];
    const digests = others.map((change) => approvalDigest({ ...SHOWN, ...change }));
    expect(new Set([approvalDigest(SHOWN), ...digests]).size).toBe(6);
    expect(approvalDigest({ ...SHOWN })).toBe(approvalDigest(SHOWN));
    expect(digests.filter((digest) => isApprovedBy(digest, SHOWN))).toEqual([]);
  });

  it("of more impact is one of less, never the other way round", () => {
    expect(IMPACTS.map((impact) => isApprovedBy(approvalDigest({ ...SHOWN, impact }), SHOWN))).toEqual([false, false, true, true, true]);
    expect(isApprovedBy(undefined, SHOWN)).toBe(false);
  });
});
