import { describe, expect, it } from "vitest";
import { status } from "@grpc/grpc-js";
import { nextStep } from "./next-step.ts";

describe("the command that helps", () => {
  it("lists what there is of the kind that was asked for", () => {
    expect(nextStep(status.NOT_FOUND, { kind: "NodeSet", name: "web" })).toBe("drover get nodesets");
    expect(nextStep(status.NOT_FOUND, { node: "web-1", reason: "stolen" } as { node: string })).toBe("drover get nodes");
  });

  it("shows the object that somebody else changed, also when it was sent as a manifest", () => {
    const json = Buffer.from(JSON.stringify({ kind: "NodeProfile", metadata: { name: "web" }, spec: {} }));
    expect(nextStep(status.ABORTED, { json })).toBe("drover get nodeprofiles web -o yaml");
    expect(nextStep(status.ABORTED, { kind: "NodeProfile", name: "web" })).toBe("drover get nodeprofiles web -o yaml");
  });

  it("is none where none helps", () => {
    expect(nextStep(status.INVALID_ARGUMENT, { kind: "Node" })).toBeUndefined();
    expect(nextStep(status.NOT_FOUND, {})).toBeUndefined();
  });
});
