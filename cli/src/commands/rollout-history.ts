/** `drover rollout history SET`: its rollouts, newest first, and who did what to them and why. */
import type { Rollout } from "@drover/api";
import type { AuditRecord } from "@drover/proto";
import { shortRevision } from "./rollout-plan.ts";
import { age, table } from "../output/table.ts";
import { decodeObject, type Session } from "../session.ts";

const AUDITED = 200;

export async function rolloutHistory(session: Session, words: string): Promise<void> {
  const name = words.replace(/^nodeset\//, "");
  const connection = session.connect();
  const set = decodeObject((await connection.call("getObject", { kind: "NodeSet", name })).object);
  const { objects } = await connection.call("listObjects", { kind: "Rollout", labelSelector: "" });
  const rollouts = objects
    .map(decodeObject)
    .filter((object): object is Rollout => object.kind === "Rollout" && object.spec.nodeSet === name)
    .sort((a, b) => (b.metadata.creationTimestamp ?? "").localeCompare(a.metadata.creationTimestamp ?? ""));
  const targets = [...rollouts.map(({ metadata }) => `Rollout/${metadata.name}`), `NodeSet/${name}`];
  if (set.kind === "NodeSet") targets.push(`NodeProfile/${set.spec.profile}`);
  const records: AuditRecord[] = [];
  for (const target of targets) records.push(...(await connection.call("listAudit", { limit: AUDITED, actor: "", target })).records);
  session.print(historyText(rollouts, records, session.nowMs()));
  if (set.kind === "NodeSet" && set.spec.revision !== undefined) {
    session.print(`held at revision ${set.spec.revision}; applying nodeset/${name} without spec.revision lets it follow its profile again`);
  }
}

export function historyText(rollouts: readonly Rollout[], records: readonly AuditRecord[], nowMs: number): string {
  const lines = table(
    ["ROLLOUT", "REVISION", "PHASE", "UPDATED", "AGE", "BY", "UNDOES"],
    rollouts.map(({ metadata, spec, status }) => [
      metadata.name,
      shortRevision(spec.revision),
      `${status?.phase ?? "Pending"}${status?.phase === "Superseded" && status.reason === "Completed" ? " (had completed)" : ""}`,
      status === undefined ? "-" : `${status.updated}/${status.total}`,
      age(metadata.creationTimestamp, nowMs),
      spec.startedBy ?? "-",
      spec.undoOf ?? "-",
    ]),
  );
  if (records.length === 0) return lines;
  const told = records
    .toSorted((a, b) => b.atMs - a.atMs)
    .map(({ atMs, actor, action, target, outcome, message }) => [
      new Date(atMs).toISOString(),
      actor,
      outcome === "ok" ? action : `${action} (${outcome})`,
      target,
      message,
    ]);
  return `${lines}\n\n${table(["TIME", "ACTOR", "ACTION", "TARGET", "WHY"], told)}`;
}
