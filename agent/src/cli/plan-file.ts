/** Reads what `--plan FILE` names: a SignedPlan as bytes, or a NodeProfile (with its ImageLocks) as YAML. */
import { readFile } from "node:fs/promises";
import { compile, formatProblem, type ImageLock, type NodeProfile, parseManifests } from "@drover/api";
import { decodePlan, type Facts, Impact, Plan, SignedPlan } from "@drover/proto";

const MAX_BYTES = 4 * 1024 * 1024;

export type PlanFile =
  | { readonly kind: "plan"; readonly plan: Plan /** Exactly what is signed. */; readonly bytes: Buffer }
  | { readonly kind: "unusable"; readonly problems: readonly string[] };

/** @param nodeId whom a profile is compiled for; a SignedPlan names its node itself */
export async function readPlanFile(path: string, nodeId: string, facts: Facts | undefined): Promise<PlanFile> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    return unusable(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code ?? "error"}); check the path`);
  }
  if (content.length > MAX_BYTES) return unusable(`${path}: is larger than ${MAX_BYTES} bytes; that is no plan`);
  return isText(content) ? fromProfile(content.toString("utf8"), path, nodeId, facts) : fromSignedPlan(content, path);
}

/** A SignedPlan holds a length and field tags below 0x20 that no YAML has. */
function isText(content: Buffer): boolean {
  return content.length === 0 || !content.some((byte) => byte < 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09);
}

function fromSignedPlan(content: Buffer, path: string): PlanFile {
  let signed: SignedPlan;
  try {
    signed = SignedPlan.decode(content);
  } catch {
    return unusable(`${path}: is neither a SignedPlan nor YAML`);
  }
  const decoding = decodePlan(signed.plan);
  if (!decoding.ok) return unusable(`${path}: the plan is refused whole: ${decoding.reason}: ${decoding.message}`);
  return { kind: "plan", plan: decoding.plan, bytes: Buffer.from(signed.plan) };
}

function fromProfile(text: string, path: string, nodeId: string, facts: Facts | undefined): PlanFile {
  const parsing = parseManifests(text, path);
  if (!parsing.ok) return { kind: "unusable", problems: parsing.problems.map(formatProblem) };
  const objects = parsing.manifests.map(({ object }) => object);
  const profiles = objects.filter((object): object is NodeProfile => object.kind === "NodeProfile");
  const locks = objects.filter((object): object is ImageLock => object.kind === "ImageLock");
  const [profile] = profiles;
  if (profile === undefined || profiles.length > 1) {
    return unusable(`${path}: holds ${profiles.length} NodeProfiles; one is wanted, with the ImageLock it names beside it`);
  }
  const compilation = compile(profile, locks, facts);
  if (!compilation.ok) return { kind: "unusable", problems: compilation.problems.map(formatProblem) };
  const plan = Plan.fromPartial({
    nodeId,
    generation: 1,
    revision: compilation.revision,
    impactBound: Impact.IMPACT_REBOOT,
    steps: [...compilation.steps],
  });
  return { kind: "plan", plan, bytes: Buffer.from(Plan.encode(plan).finish()) };
}

function unusable(problem: string): PlanFile {
  return { kind: "unusable", problems: [problem] };
}
