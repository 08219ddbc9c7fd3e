import { describe, expect, it } from "vitest";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { decodePlan } from "./fully-known.ts";
import { Plan } from "../gen/drover/v1/plan.ts";

const plan = Plan.fromPartial({
  nodeId: "abcdefghij",
  planEpoch: 1,
  generation: 7,
  impactBound: 1,
  steps: [
    { id: "sysctl", spec: { $case: "sysctl", value: { values: { "net.core.somaxconn": "4096" } } } },
    { id: "containerd", spec: { $case: "containerd", value: { registries: [{ host: "docker.io", mirrors: [{ url: "https://m" }] }] } } },
  ],
});

describe("decodePlan", () => {
  it("reads back what the coordinator encodes", () => {
    const decoded = decodePlan(Plan.encode(plan).finish());
    expect(decoded.ok && decoded.plan.generation).toBe(7);
  });

  it("refuses an unknown field at the top, in a step, in a spec, in a nested message and in a map entry", () => {
    const unknown = new BinaryWriter()
      .uint32(999 << 3)
      .uint32(1)
      .finish();
    const top = Buffer.concat([Plan.encode(plan).finish(), unknown]);
    const variants = [top];
    const withUnknown = structuredClone(plan);
    withUnknown.steps[0]!._unknownFields = { 7992: [new Uint8Array([1])] };
    variants.push(Buffer.from(Plan.encode(withUnknown).finish()));
    const nested = structuredClone(plan);
    const spec = nested.steps[1]!.spec;
    if (spec?.$case !== "containerd") throw new Error("the fixture has a containerd step");
    spec.value.registries[0]!.mirrors[0]!._unknownFields = { 7992: [new Uint8Array([1])] };
    variants.push(Buffer.from(Plan.encode(nested).finish()));
    for (const bytes of variants) {
      const decoded = decodePlan(bytes);
      expect(decoded).toMatchObject({ ok: false, reason: "UnknownField" });
    }
  });

  it("refuses an unknown field that hides in a map entry, where the decoder drops it", () => {
    const entry = new BinaryWriter().uint32(10).string("a.b").uint32(18).string("1").uint32(24).uint32(5).finish();
    const sysctl = new BinaryWriter().uint32(10).bytes(entry).finish();
    const step = new BinaryWriter().uint32(10).string("s").uint32(18).bytes(sysctl).finish();
    const bytes = new BinaryWriter().uint32(10).string("abcdefghij").uint32(66).bytes(step).finish();
    expect(decodePlan(bytes)).toMatchObject({ ok: false, reason: "UnknownField" });
  });

  it("refuses a step whose kind it does not know", () => {
    const bytes = Plan.encode(Plan.fromPartial({ nodeId: "abcdefghij", steps: [{ id: "x" }] })).finish();
    expect(decodePlan(bytes)).toMatchObject({ ok: false, reason: "UnknownField" });
  });

  it("refuses an impact it does not know, and bytes that are no plan", () => {
    expect(decodePlan(Plan.encode({ ...plan, impactBound: 99 as never }).finish())).toMatchObject({ ok: false });
    expect(decodePlan(new Uint8Array([0xff, 0xff, 0xff]))).toMatchObject({ ok: false, reason: "InvalidPlan" });
  });
});
