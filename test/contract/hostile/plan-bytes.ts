/** Protobuf bytes laid by hand: what no honest encoder writes. */
import type { Buffer as NodeBuffer } from "node:buffer";
import { ContainerdSpec, Impact, Plan, RegistryHost, RegistryMirror, Step, SysctlSpec } from "@drover/proto";

/** A length-delimited field. */
export function field(number: number, content: Uint8Array | string): NodeBuffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

/** Field 200, a varint: nobody knows it. */
export const unknownField = Buffer.concat([varint(200 * 8), varint(1)]);

function varint(value: number): NodeBuffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 128);
  }
}

/** A plan without its steps, for whoever appends them as bytes. */
export type PlanHead = Partial<Omit<Plan, "steps">>;

const STEPS_OF_PLAN = 8;

export function planOf(head: PlanHead, ...steps: readonly (Uint8Array | Step)[]): NodeBuffer {
  const encoded = Buffer.from(Plan.encode(Plan.fromPartial({ impactBound: Impact.IMPACT_REBOOT, ...head })).finish());
  // Field 8 lies after all that an honest plan sets but node_set and rollout, which are left empty here.
  return Buffer.concat([
    encoded,
    ...steps.map((step) => field(STEPS_OF_PLAN, step instanceof Uint8Array ? step : Step.encode(step).finish())),
  ]);
}

export const sysctlStep = (values: Record<string, string>, id = "sysctl"): Step =>
  Step.fromPartial({ id, spec: { $case: "sysctl", value: { values } } });

export const containerdStep = (spec: Partial<ContainerdSpec>): Step =>
  Step.fromPartial({ id: "containerd", spec: { $case: "containerd", value: spec } });

/** A step whose id is fine and whose spec (by field number) is what the bytes say. */
export const rawStep = (id: string, specField: number, spec: Uint8Array): NodeBuffer =>
  Buffer.concat([field(1, id), field(specField, spec)]);

/** One harmful step for each place in which something unknown can hide. */
export function stepsWithUnknownField(values: Record<string, string>): Readonly<Record<string, NodeBuffer>> {
  const sysctl = Buffer.from(SysctlSpec.encode(SysctlSpec.fromPartial({ values })).finish());
  const [key = "", value = ""] = Object.entries(values)[0] ?? [];
  const mirror = Buffer.from(RegistryMirror.encode(RegistryMirror.fromPartial({ url: "http://192.0.2.1:5000" })).finish());
  const host = Buffer.from(RegistryHost.encode(RegistryHost.fromPartial({ host: "docker.io" })).finish());
  return {
    step: Buffer.concat([rawStep("sysctl", 2, sysctl), unknownField]),
    spec: rawStep("sysctl", 2, Buffer.concat([sysctl, unknownField])),
    "map entry": rawStep("sysctl", 2, field(1, Buffer.concat([field(1, key), field(2, value), unknownField]))),
    "nested message": rawStep("containerd", 3, field(6, Buffer.concat([host, unknownField]))),
    "message nested twice": rawStep("containerd", 3, field(6, Buffer.concat([host, field(3, Buffer.concat([mirror, unknownField]))]))),
  };
}
