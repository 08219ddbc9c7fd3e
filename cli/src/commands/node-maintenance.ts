/** `drover node cordon|drain|uncordon|reboot|support NODE`: one machine by hand. */
import { open, rm } from "node:fs/promises";
import { DryRunMode, MaintenanceVerb } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { confirmed } from "../confirmation.ts";
import { bytesText } from "../output/table.ts";
import { decodeObject, type Session } from "../session.ts";

export type MaintenanceWord = "cordon" | "drain" | "uncordon";

const VERBS: { readonly [W in MaintenanceWord]: { readonly verb: MaintenanceVerb; readonly done: string } } = {
  cordon: { verb: MaintenanceVerb.MAINTENANCE_VERB_CORDON, done: "is to take no new pods" },
  drain: { verb: MaintenanceVerb.MAINTENANCE_VERB_DRAIN, done: "is to be drained, as PodDisruptionBudgets let it" },
  uncordon: { verb: MaintenanceVerb.MAINTENANCE_VERB_UNCORDON, done: "is to be let back" },
};

export async function maintainNode(
  session: Session,
  word: MaintenanceWord,
  name: string,
  { reason, deadlineMs }: { readonly reason: string; readonly deadlineMs: number },
): Promise<void> {
  const { verb, done } = VERBS[word];
  await session.connect().call("maintainNode", { node: name, verb, reason, deadlineSeconds: Math.ceil(deadlineMs / 1000) });
  session.print(`node/${name} ${done}; see: drover describe node ${name}`);
}

/** A repair of one rung: with evidence before, a check after, and its place in the budgets. */
export async function rebootNode(session: Session, name: string, reason: string, isSure: boolean): Promise<void> {
  const connection = session.connect();
  const request = { nodes: [name], labelSelector: "", rungs: ["Reboot"], units: [], reason, confirmedNodes: 1 };
  await connection.call("createRepairs", { ...request, dryRun: DryRunMode.DRY_RUN_MODE_SERVER });
  session.print(
    `1 node will be rebooted within the budgets of its set; a Ready one is drained first, unless its set never drains: ${name}`,
  );
  if (!isSure) await confirmed(session, "Reboot it?", "--yes");
  const { objects } = await connection.call("createRepairs", { ...request, dryRun: DryRunMode.DRY_RUN_MODE_NONE });
  const repair = objects[0] === undefined ? "" : decodeObject(objects[0]).metadata.name;
  session.print(`repair/${repair} begun; see: drover describe repair ${repair}`);
}

/** @param evidence id of a repair's bundle; empty: gathered now. @param path where it goes; never over another file */
export async function collectSupport(session: Session, name: string, evidence: string, path: string): Promise<void> {
  const connection = session.connect();
  const file = await open(path, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === "EEXIST" ? "exists already" : error.message;
    throw new CliError(exitCodes.usage, `${path} cannot be written: ${why}`, "another name with -o FILE");
  });
  let bytes = 0;
  let isWhole = false;
  try {
    for await (const { chunk } of connection.stream("fetchEvidence", { node: name, evidence }, session.signal)) {
      await file.write(chunk);
      bytes += chunk.length;
    }
    isWhole = bytes > 0 && !session.signal.aborted;
  } finally {
    await file.close();
    if (!isWhole) await rm(path, { force: true });
  }
  if (!isWhole)
    throw new CliError(exitCodes.failed, `no evidence of node/${name} came; nothing was written`, `drover describe node ${name}`);
  session.print(`${path} written, ${bytesText(bytes)} about node/${name}; secrets are left out of it, but read it before you send it on`);
}
