/** A Repair for people: what was tried, when, with which evidence, and what is next. Pure. */
import type { Repair } from "@drover/api";
import { age } from "../output/table.ts";

export function describeRepair({ metadata, spec, status }: Repair, nowMs: number): string {
  const lines = [
    `Repair:      ${metadata.name}`,
    `Node:        ${spec.nodeName} (${spec.node})`,
    `Asked by:    ${spec.requestedBy}${spec.reason === "" ? "" : `: ${spec.reason}`}${spec.cancelled === true ? "; called off" : ""}`,
    `Rungs:       ${spec.rungs.join(", then ")}${spec.units === undefined ? "" : ` (units: ${spec.units.join(", ")})`}`,
  ];
  if (status === undefined) return [...lines, "Status:      none yet"].join("\n");
  lines.push(
    `Phase:       ${status.phase}${status.reason === "" ? "" : ` ${status.reason}`}${status.message === "" ? "" : `: ${status.message}`}`,
  );
  if (status.nextAt !== undefined && status.finishedAt === undefined) lines.push(`Next rung:   not before ${status.nextAt}`);
  lines.push(status.attempts.length === 0 ? "Attempts:    none yet" : "Attempts:");
  for (const { rung, startedAt, outcome, message, evidence } of status.attempts) {
    lines.push(`  ${rung}: ${outcome}, begun ${age(startedAt, nowMs)} ago${message === "" ? "" : `: ${message}`}`);
    if (evidence !== undefined) lines.push(`    evidence: drover node support ${spec.nodeName} --evidence ${evidence}`);
  }
  return lines.join("\n");
}
