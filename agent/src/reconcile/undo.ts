/** Takes back what was tried and not confirmed: by the enforced plan's steps, each read back; then sysctls that no step owns any more. */
import type { Plan, SpecOf, StepKind } from "@drover/proto";
import type { Host } from "../host/host.ts";
import type { StepMemory } from "../steps/step.ts";
import { type BoundStep, boundSteps, removalOf, type StepTable } from "./engine-parts.ts";
import type { StepRun } from "./run-step.ts";
import type { TryRecord } from "./try-record.ts";

export interface UndoParts {
  readonly host: Host;
  readonly bound: readonly BoundStep[];
  readonly enforced: Plan | undefined;
  readonly memoryOf: (kind: StepKind) => StepMemory;
  readonly run: (each: BoundStep) => Promise<StepRun>;
}

/** What was tried last goes back first. */
export function undoneBy(kinds: readonly StepKind[], enforced: Plan | undefined, tried: Plan, steps: StepTable): readonly BoundStep[] {
  const known = enforced === undefined ? [] : boundSteps(enforced, steps);
  return kinds.toReversed().map((kind) => known.find(({ step }) => step.kind === kind) ?? removalOf(kind, tried, steps));
}

/** @returns what could not be put back or not be verified; undefined: all is as it was */
export async function undo(record: TryRecord, { host, bound, enforced, memoryOf, run }: UndoParts): Promise<string | undefined> {
  const failures: string[] = [];
  for (const each of bound) {
    const isRemoval = each.spec === each.step.emptySpec;
    const memory = memoryOf(each.step.kind);
    // It was killed before it had changed anything.
    if (isRemoval && (await memory.get()) === undefined) continue;
    const { outcome, reason, message } = await run(each);
    if (outcome === "failed") failures.push(`${each.id}: ${reason}: ${message}`);
    else if (isRemoval) await memory.set(undefined);
  }
  // Another boot has its own: what it read at its start are the files as they were.
  if (record.bootId === (await host.kernel.bootId())) failures.push(...(await putBackSysctls(record, enforced, host)));
  return failures.length === 0 ? undefined : failures.join("; ").slice(0, 1000);
}

async function putBackSysctls(record: TryRecord, enforced: Plan | undefined, { kernel }: Host): Promise<readonly string[]> {
  const spec = enforced?.steps.find((step) => step.spec?.$case === "sysctl")?.spec?.value as SpecOf<"sysctl"> | undefined;
  const failures: string[] = [];
  for (const [key, original] of Object.entries(record.sysctls)) {
    if (Object.hasOwn(spec?.values ?? {}, key) || (await kernel.readSysctl(key)) === original) continue;
    const refusal = await kernel.writeSysctl(key, original).then(
      () => "",
      (error: unknown) => ` (${(error as Error).message})`,
    );
    const found = await kernel.readSysctl(key);
    if (found !== original) failures.push(`${key} is ${found ?? "gone"}, was ${original}${refusal}`);
  }
  return failures;
}
