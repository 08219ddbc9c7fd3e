import { describe, expect, it } from "vitest";
import { worstOf } from "./conditions.ts";

const condition = (type: string, status: string) => ({ type, status, reason: `${type}${status}` });

describe("the one condition that is named", () => {
  it("is none while all is well, whichever way a condition is put", () => {
    expect(
      worstOf([condition("SysctlShadowed", "False"), condition("InSync", "True"), condition("ImagesPresent", "Unknown")]),
    ).toBeUndefined();
  });

  it("is what is bad, and being out of sync before what stands beside it", () => {
    const shadowed = condition("SysctlShadowed", "True");
    const outOfSync = condition("InSync", "False");
    expect(worstOf([condition("InSync", "True"), shadowed])).toBe(shadowed);
    expect(worstOf([shadowed, condition("ImagesProtected", "False"), outOfSync])).toBe(outOfSync);
    expect(worstOf([outOfSync, condition("Revoked", "True")])).toMatchObject({ type: "Revoked" });
  });
});
