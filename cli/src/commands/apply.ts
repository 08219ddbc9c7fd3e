/** `drover apply -f FILE [--dry-run=none|client|server|node]`. */
import { ApplyOutcome, DryRunMode } from "@drover/proto";
import { printStepDiffs } from "../output/step-diffs.ts";
import { CliError, exitCodes } from "../cli-error.ts";
import { decodeObject, type Session } from "../session.ts";
import { readManifests } from "./manifests.ts";

export type DryRun = "none" | "client" | "server" | "node";

const words: { readonly [K in ApplyOutcome]?: string } = {
  [ApplyOutcome.APPLY_OUTCOME_CREATED]: "created",
  [ApplyOutcome.APPLY_OUTCOME_CONFIGURED]: "configured",
  [ApplyOutcome.APPLY_OUTCOME_UNCHANGED]: "unchanged",
};

export async function apply(session: Session, paths: readonly string[], dryRun: DryRun): Promise<void> {
  const manifests = await readManifests(session, paths);
  if (dryRun === "client") {
    for (const { object } of manifests) session.print(`${object.kind.toLowerCase()}/${object.metadata.name} valid (client dry run)`);
    return;
  }
  const connection = session.connect();
  if (dryRun === "node") {
    const request = { manifests: manifests.map(({ object }) => Buffer.from(JSON.stringify(object))), maxNodes: 0 };
    let unasked = 0;
    const nodesOf = new Map<string, string[]>();
    for await (const answer of connection.stream("dryRunOnNodes", request, session.signal)) {
      if (answer.reason !== "") unasked += 1;
      const text = printStepDiffs(answer.steps, answer.reason, answer.message);
      nodesOf.set(text, [...(nodesOf.get(text) ?? []), answer.nodeName]);
    }
    // What is the same on many machines is told once.
    for (const [text, nodes] of nodesOf)
      session.print(
        `${nodes
          .toSorted()
          .map((node) => `node/${node}`)
          .join(", ")}\n${text}`,
      );
    if (unasked > 0)
      throw new CliError(exitCodes.degraded, `${unasked} node${unasked === 1 ? "" : "s"} could not be asked`, "drover get nodes -o wide");
    return;
  }
  const suffix = dryRun === "server" ? " (server dry run)" : "";
  for (const manifest of manifests) {
    const answer = await connection.call("applyObject", {
      json: Buffer.from(JSON.stringify(manifest.object)),
      dryRun: dryRun === "server" ? DryRunMode.DRY_RUN_MODE_SERVER : DryRunMode.DRY_RUN_MODE_NONE,
      expectedResourceVersion: manifest.object.metadata.resourceVersion ?? 0,
    });
    const object = decodeObject(answer.object);
    session.print(`${object.kind.toLowerCase()}/${object.metadata.name} ${words[answer.outcome] ?? "applied"}${suffix}`);
    for (const warning of answer.warnings) session.warn(`warning: ${warning}`);
    for (const rollout of answer.rollouts) {
      session.print(
        `  rollout/${rollout} ${dryRun === "server" ? "would start" : "started"}, ${answer.affectedNodes} node${answer.affectedNodes === 1 ? "" : "s"}; watch it: drover rollout status ${rollout}`,
      );
    }
  }
}
