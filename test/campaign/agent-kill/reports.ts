/** What the coordinator's report log holds of one node; opened read-only beside the coordinator that writes it. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Event, StepOutcome } from "@drover/proto";
import { decodePull } from "../../../coordinator/src/reportlog/pull-blob.ts";
import { type LoggedReport, readReports } from "../../../coordinator/src/reportlog/report-count.ts";

export class NodeReports {
  readonly #path: string;
  /** All that was read, by node id. */
  readonly #reports = new Map<string, LoggedReport[]>();
  readonly #seen = new Set<string>();
  #lastRow = 0;

  constructor(dataDirectory: string) {
    this.#path = join(dataDirectory, "reports.db");
  }

  /** Also reads what has come since the last call. */
  async of(nodeId: string): Promise<readonly LoggedReport[]> {
    for await (const report of readReports(this.#newRows())) {
      const key = `${report.nodeId}/${report.outboxEpoch}/${report.seq}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      const known = this.#reports.get(report.nodeId);
      if (known === undefined) this.#reports.set(report.nodeId, [report]);
      else known.push(report);
    }
    return this.#reports.get(nodeId) ?? [];
  }

  #newRows(): Parameters<typeof readReports>[0] {
    const database = new DatabaseSync(this.#path, { readOnly: true, timeout: 5000 });
    const rows = database.prepare("SELECT row, at_ms, messages FROM pulls WHERE row > ? ORDER BY row").all(this.#lastRow);
    database.close();
    this.#lastRow = (rows.at(-1)?.["row"] as number | undefined) ?? this.#lastRow;
    return {
      async *read() {
        for (const { row, at_ms: atMs, messages } of rows) {
          yield { row: row as number, atMs: atMs as number, messages: decodePull(messages as Uint8Array) };
        }
      },
    };
  }
}

export const stepIds = ["sysctl", "containerd", "images"];

/**
 * @param reports of one node, from its first on
 * @returns what is wrong with what was told of one generation, after one kill
 */
export function reportProblems(reports: readonly LoggedReport[], generation: number): readonly string[] {
  const problems = [...holes(reports)];
  const events = reports.flatMap(({ batch }) => batch.events).filter((event) => event.generation === generation);
  const bodies = (kind: NonNullable<Event["body"]>["$case"]): readonly Event["body"][] =>
    events.flatMap(({ body }) => (body?.$case === kind ? [body] : []));
  // Told again when the process that told it may have died before it knew that it had: at most once more per kill.
  const accepted = bodies("planAccepted").length;
  if (accepted < 1 || accepted > 3) problems.push(`planAccepted was reported ${accepted} times`);
  if (bodies("planRefused").length > 0) problems.push("the plan was refused");
  const finished = bodies("planFinished");
  if (finished.length < 1 || finished.length > 2) problems.push(`planFinished was reported ${finished.length} times`);
  let repeated = 0;
  for (const id of stepIds) {
    const results = events.flatMap(({ body }) => (body?.$case === "stepResult" && body.value.step === id ? [body.value] : []));
    repeated += Math.max(0, results.length - 1);
    const told = results.map(({ outcome, reason }) => `${nameOf(outcome)} ${reason}`).join(", ");
    if (results.length === 0) problems.push(`step ${id} has no result`);
    else if (!results.some(({ outcome }) => outcome === StepOutcome.STEP_OUTCOME_CHANGED))
      problems.push(`step ${id} never says that it changed something: ${told}`);
    if (results.some(({ outcome }) => outcome === StepOutcome.STEP_OUTCOME_FAILED)) problems.push(`step ${id} failed on the way: ${told}`);
  }
  if (repeated > 1) problems.push(`${repeated} results were reported again after one kill`);
  return problems;
}

/** Each outbox epoch holds every seq from its first on, once. */
function holes(reports: readonly LoggedReport[]): readonly string[] {
  return [...Map.groupBy(reports, (report) => report.outboxEpoch)].flatMap(([epoch, own]) => {
    const seqs = new Set(own.map(({ seq }) => seq));
    const highest = Math.max(...seqs);
    return seqs.size === highest && own.length === highest ? [] : [`outbox ${epoch} has ${seqs.size} of ${highest} seqs in the log`];
  });
}

function nameOf(outcome: StepOutcome): string {
  return Object.entries(StepOutcome).find(([, value]) => value === outcome)?.[0] ?? String(outcome);
}
