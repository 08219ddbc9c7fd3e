/** `drover rollout plan SET... | -f FILE`: what a rollout would disturb at most. Contacts no machine, changes nothing. */
import type { RolloutForecast } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { count } from "../confirmation.ts";
import { impactWord } from "../output/impacts.ts";
import { table } from "../output/table.ts";
import type { Session } from "../session.ts";
import { readManifests } from "./manifests.ts";

export async function rolloutPlan(session: Session, nodeSets: readonly string[], paths: readonly string[]): Promise<void> {
  if (nodeSets.length === 0 && paths.length === 0) {
    throw new CliError(exitCodes.usage, "NodeSets by name, or manifests with -f, are needed", "drover rollout plan -f web.yaml");
  }
  const manifests = paths.length === 0 ? [] : await readManifests(session, paths);
  const { forecasts } = await session.connect().call("planRollout", {
    nodeSets: nodeSets.map((name) => name.replace(/^nodeset\//, "")),
    manifests: manifests.map(({ object }) => Buffer.from(JSON.stringify(object))),
  });
  if (forecasts.length === 0) session.print("no NodeSet is touched: nothing would move");
  else session.print(forecasts.map(forecastText).join("\n\n"));
}

export function forecastText(forecast: RolloutForecast): string {
  const { nodeSet, revision, nodes, updated, impactBound, steps, waves, worst, warnings } = forecast;
  const moved = nodes - updated;
  const lines = [
    `nodeset/${nodeSet}: ${count(nodes)}, ${moved === 0 ? "all of them" : updated} at revision ${shortRevision(revision)} already`,
    ...(moved === 0 ? [] : [`  ${count(moved)} would move; the most that one of them feels: ${impactWord(impactBound)}`]),
  ];
  const part = (title: string, header: readonly string[], rows: readonly (readonly string[])[]): void => {
    if (rows.length === 0) return;
    lines.push(
      `  ${title}:`,
      ...table(header, rows)
        .split("\n")
        .map((line) => `    ${line}`),
    );
  };
  part(
    "steps",
    ["STEP", "IMPACT", "NODES"],
    steps.map(({ step, impact, nodes: touched }) => [step, impactWord(impact), String(touched)]),
  );
  part(
    "waves",
    ["WAVE", "NODES", "AT ONCE", "IMPACT", "APPROVAL", "FIRST"],
    waves.map(({ name, nodes: own, atOnce, impactBound: bound, needsApproval, sample }) => [
      name,
      String(own),
      String(atOnce),
      impactWord(bound),
      needsApproval ? "needed" : "-",
      `${sample.join(", ")}${own > sample.length ? " ..." : ""}`,
    ]),
  );
  part(
    "hit hardest at once",
    ["LABEL", "VALUE", "NODES"],
    worst.map(({ topologyKey, value, nodes: hit, of }) => [topologyKey, value, `${hit} of ${of}`]),
  );
  lines.push(...warnings.map((warning) => `  warning: ${warning}`));
  return lines.join("\n");
}

export function shortRevision(revision: string): string {
  return revision.replace(/^sha256:/, "").slice(0, 12) || "-";
}
