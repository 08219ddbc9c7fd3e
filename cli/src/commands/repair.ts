/** `drover repair NODE... | -l SELECTOR` and `drover repair cancel NAME`: shows which machines and which rungs before anything begins. */
import type { Repair } from "@drover/api";
import { DryRunMode } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { confirmed, count } from "../confirmation.ts";
import { shortList } from "../output/rollout-lines.ts";
import { decodeObject, type Session } from "../session.ts";

export interface RepairOptions {
  readonly selector: string;
  readonly rungs: readonly string[];
  readonly units: readonly string[];
  readonly reason: string;
  readonly isDryRun: boolean;
  /** The count that the operator typed; 0: none. */
  readonly confirmedNodes: number;
  /** Do not ask; of machines that are named only. */
  readonly isSure: boolean;
}

export async function repair(session: Session, words: readonly string[], options: RepairOptions): Promise<void> {
  const { selector, rungs, units, reason, isDryRun } = options;
  const nodes = words.map((word) => word.replace(/^node\//, ""));
  if ((nodes.length === 0) === (selector === "")) {
    const message = nodes.length === 0 ? "nodes by name, or a selector with -l, are needed" : "names and a selector exclude each other";
    throw new CliError(exitCodes.usage, message, "drover repair web-1 --dry-run");
  }
  const connection = session.connect();
  const typed = options.confirmedNodes;
  // A selector's count is the operator's to know: what it matches now is only shown to him.
  const matched = selector === "" ? nodes.length : await countOf(session, selector);
  const request = { nodes: [...nodes], labelSelector: selector, rungs: [...rungs], units: [...units], reason, confirmedNodes: matched };
  const planned = await connection.call("createRepairs", { ...request, dryRun: DryRunMode.DRY_RUN_MODE_SERVER });
  session.print(repairsText(planned.objects.map(decodeObject) as Repair[]));
  if (typed !== 0 && typed !== matched) {
    throw new CliError(
      exitCodes.conflict,
      `${count(matched)}, not ${typed}; nothing was begun`,
      `look at them, then the same again with --nodes ${matched}`,
    );
  }
  if (isDryRun) return;
  const isConfirmed = typed !== 0 || (selector === "" && options.isSure);
  if (!isConfirmed) await confirmed(session, `Repair ${count(matched)}?`, selector === "" ? "--yes" : `--nodes ${matched}`);
  const { objects } = await connection.call("createRepairs", { ...request, dryRun: DryRunMode.DRY_RUN_MODE_NONE });
  for (const { name } of objects) session.print(`repair/${name} begun; see: drover describe repair ${name}`);
}

/** Revoked ones are machines no more. */
async function countOf(session: Session, selector: string): Promise<number> {
  const { objects } = await session.connect().call("listObjects", { kind: "Node", labelSelector: selector });
  return objects.map(decodeObject).filter((object) => object.kind === "Node" && object.status?.phase !== "Revoked").length;
}

export function repairsText(repairs: readonly Repair[]): string {
  const alike = Map.groupBy(
    repairs,
    ({ spec }) => `${spec.rungs.join(", then ")}${spec.units === undefined ? "" : ` (units: ${spec.units.join(", ")})`}`,
  );
  const lines = [...alike].map(([what, own]) => `  ${shortList(own.map(({ spec }) => spec.nodeName))}: ${what}`);
  return [
    `${count(repairs.length)} to repair, each rung only when the one before did not help, within the budgets of their sets:`,
    ...lines,
  ].join("\n");
}

export async function cancelRepair(session: Session, words: string): Promise<void> {
  const name = words.replace(/^repair\//, "");
  await session.connect().call("cancelRepair", { name });
  session.print(`repair/${name} is called off; what runs on the node comes to its end: drover describe repair ${name}`);
}
