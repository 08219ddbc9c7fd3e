/** The bugs: each a mistake that harms a fleet, as one edit of one file. */

export interface PlantedBug {
  /** What the code does wrong. */
  readonly name: string;
  /** Relative to the top of the checkout. */
  readonly file: string;
  /** Occurs once in the file. */
  readonly from: string;
  readonly to: string;
  /** Name of the only scenario in which it can show. */
  readonly shows?: "stormy" | "zoned" | "ailing";
}

/** @throws when the text to be replaced is not there exactly once */
export function withBug(source: string, { name, file, from, to }: PlantedBug): string {
  const parts = source.split(from);
  if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times the text that '${name}' replaces, not once: ${from}`);
  return parts.join(to);
}

const ENGINE = "agent/src/reconcile/engine.ts";
const TRY_RECORD = "agent/src/reconcile/try-record.ts";
const OUTBOX = "agent/src/report/outbox.ts";
const FOLD = "coordinator/src/fleet/fold.ts";
const INGEST = "coordinator/src/ingest/ingest.ts";
const BUDGET = "coordinator/src/rollout/budget.ts";
const HEALTH = "coordinator/src/fleet/health.ts";
const PLACES = "coordinator/src/repair/places.ts";

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: "a step begins with no intent in the journal",
    file: ENGINE,
    from: `await journal.write({ type: "intent", planEpoch, generation, step: each.id, kind: each.step.kind, changes });`,
    to: "",
  },
  {
    name: "a plan older than the accepted one is accepted",
    file: "agent/src/reconcile/accept-plan.ts",
    from: "if (order < 0) {",
    to: "if (order < -1e9) {",
  },
  {
    name: "an undone generation is tried again",
    file: "agent/src/reconcile/journal-state.ts",
    from: `(accepted.ending.outcome === "failed" && accepted.ending.isRetryable)`,
    to: `accepted.ending.outcome === "rejected" || (accepted.ending.outcome === "failed" && accepted.ending.isRetryable)`,
  },
  {
    name: "the deadline to be confirmed by is ignored",
    file: TRY_RECORD,
    from: "return record.deadlineMs - (await this.#kernel.uptimeMs());",
    to: "return record.confirmDeadlineMs;",
  },
  {
    name: "a change that another boot tried is not undone",
    file: TRY_RECORD,
    from: `if (record.phase === "undoing" || record.bootId !== (await this.#kernel.bootId())) return 0;`,
    to: `if (record.phase === "undoing") return 0;`,
  },
  {
    name: "an undo is told without having been done",
    file: "agent/src/reconcile/undo.ts",
    from: "const { outcome, reason, message } = await run(each);",
    to: `const { outcome, reason, message } = { outcome: String("unchanged"), reason: "", message: "" };`,
  },
  {
    name: "what can cut a node off is applied with nothing kept to undo it",
    file: ENGINE,
    from: "if (this.#isConfirmed(plan)) return;",
    to: "if (this.#isConfirmed(plan) || plan.planEpoch > 0) return;",
  },
  {
    name: "drift that disrupts is repaired without a slot",
    file: "agent/src/reconcile/drift-scan.ts",
    from: "impactBound: Impact.IMPACT_LIVE,",
    to: "impactBound: Impact.IMPACT_RESTART,",
    shows: "zoned",
  },
  {
    name: "drift is repaired by the accepted plan, not by the enforced one",
    file: ENGINE,
    from: "const plan = decodeKept(enforced);\n    const isNewerOpen",
    to: "const plan = decodeKept(accepted ?? enforced);\n    const isNewerOpen",
  },
  {
    name: "a step is journalled as done before it is applied",
    file: ENGINE,
    from: "reporter.note([this.#event(pair, stepStarted(each.id, changes))]);",
    to: `await journal.write({ type: "done", planEpoch, generation, step: each.id });`,
  },
  {
    name: "the outbox frees what was published, not what was acknowledged",
    file: OUTBOX,
    from: "await log.trimThrough(seq);",
    to: "await log.trimThrough(this.#published);",
  },
  {
    name: "a report that was lost on its way is not sent again",
    file: OUTBOX,
    from: "  #resend(): void {\n    this.#published = this.#acked;",
    to: "  #resend(): void {",
  },
  {
    name: "what nobody has confirmed in time is kept",
    file: ENGINE,
    from: `if (accepted.ending?.outcome === "enforced" || accepted.ending?.outcome === "rejected") return`,
    to: "if (accepted.ending === undefined) return",
  },
  {
    name: "reports are acknowledged before they are in the log",
    file: INGEST,
    from: "const row = await reportLog.append(pull, nowMs);",
    to: "const row = this.#row + 1;\n    void reportLog.append(pull, nowMs);",
  },
  {
    name: "a hole between reports is passed over",
    file: FOLD,
    from: `if (batch.seq > cursor.seq + 1) return same("gap");`,
    to: "",
  },
  {
    name: "a report that comes twice is counted twice in its ack",
    file: FOLD,
    from: `: same("duplicate");`,
    to: `: { ...same("duplicate"), ack: { epoch, seq: cursor.seq + 1 } };`,
  },
  {
    name: "the snapshot is written with the row of a report that it does not hold",
    file: INGEST,
    from: "await snapshotStore.write(fleet.snapshot(row));",
    to: "await snapshotStore.write(fleet.snapshot(row + 1));",
  },
  {
    name: "a coordinator that starts does not read the log behind its snapshot",
    file: INGEST,
    from: "    await this.#replay();\n",
    to: "",
  },
  {
    name: "the budget does not count who is in change",
    file: "coordinator/src/rollout/judgement.ts",
    from: "    if (judged.isCounted) {\n",
    to: "    if (judged.isCounted && !judged.isInChange) {\n",
  },
  {
    name: "the budget lets one more begin than it allows",
    file: BUDGET,
    from: "this.unavailable) >= this.#limits.maxUnavailable",
    to: "this.unavailable) > this.#limits.maxUnavailable",
  },
  {
    name: "zones have no budget",
    file: BUDGET,
    from: `if (this.#spentKey(place, isCounted) >= 0) return "TopologyBudgetSpent";`,
    to: "",
    shows: "zoned",
  },
  {
    name: "a new decision has the generation of the one before",
    file: "coordinator/src/dispatch/desired.ts",
    from: "const generation = (before?.generation ?? 0) + 1;",
    to: "const generation = before?.generation ?? 1;",
  },
  {
    name: "silence alone is called death",
    file: HEALTH,
    from: `if (node.secondPath !== "agreed") return`,
    to: `if (node.secondPath === "pending") return`,
  },
  {
    name: "nodes of a cell that fell silent together are called dead",
    file: HEALTH,
    from: `if (node.cell === "disrupted") return { verdict: "unknown", reason: "CellDisrupted" };`,
    to: "",
    shows: "zoned",
  },
  {
    name: "a cell that fell silent is rolled out to",
    file: "coordinator/src/rollout/blocks.ts",
    from: `if (node.verdict !== "unknown") return undefined;`,
    to: "return undefined;",
    shows: "zoned",
  },
  {
    name: "a node of which nobody knows how it is gets repaired",
    file: "coordinator/src/repair/decide-repairs.ts",
    from: `if (node.verdict === "unknown") {`,
    to: `if (node.verdict === "unknown" && node.name === "") {`,
    shows: "ailing",
  },
  {
    name: "repairs that nobody asked for know no limit of the set",
    file: PLACES,
    from: "if (own.length < limit) return undefined;",
    to: "if (own.length >= 0) return undefined;",
    shows: "ailing",
  },
  {
    name: "what a rollout has brought to its end is never settled",
    file: "coordinator/src/rollout/writes.ts",
    from: "if (stored === undefined) continue;",
    to: "if (stored !== undefined) continue;",
  },
  {
    name: "the coordinator confirms nothing",
    file: "coordinator/src/dispatch/sessions.ts",
    from: "const mayStay = isDesired &&",
    to: "const mayStay = !isDesired &&",
  },
  {
    name: "deadlines end a thousand times too soon",
    file: "lifecycle/src/deadline.ts",
    from: "const cancel = clock.setTimer(ms, ",
    to: "const cancel = clock.setTimer(ms / 1_000, ",
  },
];
