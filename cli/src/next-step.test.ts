import { describe, expect, it } from "vitest";
import { status } from "@grpc/grpc-js";
import { nextAfterAnswer, nextStep } from "./next-step.ts";

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

  it("knows a cluster by its kubeconfig, and what is not there from the coordinator", () => {
    const adopt = { name: "prod", endpoint: "", kubeconfig: Buffer.from("x") } as { name: string };
    expect(nextStep(status.ABORTED, adopt)).toBe("drover get clusters prod -o yaml");
    expect(nextStep(status.INVALID_ARGUMENT, adopt)).toContain("kubectl config view");
    expect(nextAfterAnswer(adopt)).toContain("API server");
    expect(nextAfterAnswer({ node: "web-1" })).toBe("drover get nodes -o wide");
    expect(nextAfterAnswer({})).toBe("the same again in a moment");
  });

  it("is none where none helps", () => {
    expect(nextStep(status.INVALID_ARGUMENT, { kind: "Node" })).toBeUndefined();
    expect(nextStep(status.NOT_FOUND, {})).toBeUndefined();
  });
});
