/**
 * Brings the machine to the accepted plan, and keeps what was enforced: the order of journal, effects and reports.
 * One caller at a time for apply and scan (the agent's loop); accept, cancel and dryRun may come in between.
 */
import { DeadlineExceeded } from "@drover/lifecycle";
import { type Change, Plan, type StepDiff, type StepKind } from "@drover/proto";
import type { StepCondition } from "../steps/step.ts";
import { type Acceptance, acceptPlan } from "./accept-plan.ts";
import { type ConditionBook, reportOf, tell } from "./conditions.ts";
import { scanForDrift } from "./drift-scan.ts";
import { askProbes, PATIENCE_MS, PROBES } from "./ask-probes.ts";
import { type BoundStep, boundSteps, type EngineParts, removalOf } from "./engine-parts.ts";
import { eventOf, planFinished, stepResult, stepStarted } from "./events.ts";
import { type AcceptedPlan, comparePairs, isUnfinished, type JournalState, type Pair, type PlanEnding } from "./journal-state.ts";
import { stepMemory } from "./memory.ts";
import { recordingHost } from "./recording-host.ts";
import { stepBegun, stepOver } from "./step-progress.ts";
import { failureOf, isFatal, runStep, type StepRun, type StepSurroundings } from "./run-step.ts";
import { canCutOff, takesLong } from "./risky-changes.ts";
import { Trial, type TryRecord } from "./try-record.ts";
import { undo, undoneBy } from "./undo.ts";

export class Engine {
  readonly #parts: EngineParts;
  readonly #kinds: readonly StepKind[];
  readonly #trial: Trial;
  #conditions: ConditionBook = [];
  #cancelled: Pair | undefined;
  /** The plan whose probes have been told since it was enforced, as far as this process knows. */
  #probed: Pair | undefined;
  #isApplying = false;
  readonly #openDrift = new Map<string, string>();
  readonly #endListeners = new Set<() => void>();

  private constructor(parts: EngineParts, conditions: ConditionBook, trial: Trial) {
    this.#parts = parts;
    this.#trial = trial;
    this.#kinds = Object.keys(parts.steps) as StepKind[];
    this.#conditions = conditions;
  }

  static async open(parts: EngineParts): Promise<Engine> {
    const held = await parts.state.readFile("conditions.json");
    const trial = await Trial.open(parts.state, parts.host.kernel);
    return new Engine(parts, held === undefined ? [] : bookIn(held.toString(), parts.log), trial);
  }

  get journal(): JournalState {
    return this.#parts.journal.state;
  }

  get stepKinds(): readonly StepKind[] {
    return this.#kinds;
  }

  get conditions(): ConditionBook {
    return this.#conditions;
  }

  get isApplying(): boolean {
    return this.#isApplying;
  }

  /** Ids of steps whose drift is reported and not repaired. */
  get driftedSteps(): readonly string[] {
    return [...this.#openDrift.keys()];
  }

  /** Tells everything that may have been lost with memory: once at each start, and after reports were dropped. */
  tellAll(): void {
    const pair = this.journal.accepted;
    const { accepted } = this.journal;
    if (isUnfinished(accepted)) {
      const { revision } = decodeKept(accepted);
      this.#parts.reporter.note([this.#event(pair, { $case: "planAccepted", value: { revision } })]);
    }
    this.#parts.reporter.note(this.#conditions.map((held) => this.#event(pair, { $case: "condition", value: reportOf(held) })));
    this.#openDrift.clear();
  }

  /** The coordinator has lost its reports: how the accepted plan ended is not told by anything else. */
  tellLost(): void {
    const { accepted } = this.journal;
    if (accepted?.ending !== undefined) {
      this.#parts.reporter.note([this.#event(accepted, planFinished(decodeKept(accepted), accepted.ending))]);
    }
    this.tellAll();
  }

  /** I1, I2: checks a plan; once accepted it is durable when this resolves. */
  async accept(bytes: Uint8Array): Promise<Acceptance> {
    const { nodeId, clock, journal, reporter } = this.#parts;
    const acceptance = acceptPlan(bytes, { nodeId, supportedKinds: this.#kinds, nowMs: clock.now(), ...journal.state });
    if (acceptance.outcome === "accepted") {
      const { planEpoch, generation, revision } = acceptance.plan;
      await journal.write({ type: "accepted", planEpoch, generation, plan: Buffer.from(bytes).toString("base64") });
      await reporter.record([this.#event(acceptance.plan, { $case: "planAccepted", value: { revision } })]);
    } else if (acceptance.outcome === "refused") {
      const { pair, reason, message } = acceptance;
      await reporter.record([this.#event(pair, { $case: "planRefused", value: { reason, message } })]);
    }
    return acceptance;
  }

  /** The plan ends after the step that runs; the next apply ends one that waits for its next try. Another plan is not touched. */
  cancel(pair: Pair): void {
    const { accepted } = this.journal;
    if (!isUnfinished(accepted) || comparePairs(accepted, pair) !== 0) return;
    this.#cancelled = { planEpoch: pair.planEpoch, generation: pair.generation };
  }

  /** The accepted plan is to be ended by the next apply. */
  get isCancelled(): boolean {
    const { accepted } = this.journal;
    return accepted !== undefined && this.#isCancelled(accepted);
  }

  /** What is applied and waits for the coordinator's word (I4). */
  get unconfirmed(): Pair | undefined {
    const { record } = this.#trial;
    return record?.phase === "applied" && this.#isTried(record) && this.journal.accepted?.ending === undefined
      ? { planEpoch: record.planEpoch, generation: record.generation }
      : undefined;
  }

  /** The coordinator's word; durable when this resolves, the next apply ends the plan. Nothing when it is being undone already. */
  async confirm(pair: Pair): Promise<void> {
    const { unconfirmed } = this;
    if (unconfirmed === undefined || comparePairs(unconfirmed, pair) !== 0) return;
    await this.#trial.end();
  }

  /** Milliseconds until the accepted plan has to be undone, zero or less: now; undefined: nothing of it waits for a confirmation. */
  async msUntilUndo(): Promise<number | undefined> {
    const { record } = this.#trial;
    if (record === undefined) return undefined;
    if (!this.#isTried(record)) return undefined;
    return this.#trial.leftMs();
  }

  /** I4: takes back what was not confirmed, and rejects its plan. What cannot be verified stays to be undone, and is told. */
  async undo(signal: AbortSignal): Promise<void> {
    const { accepted } = this.journal;
    const { record } = this.#trial;
    if (record === undefined || accepted === undefined || !this.#isTried(record)) return;
    // Ended before its record could be removed: there is nothing left to undo.
    if (accepted.ending?.outcome === "enforced" || accepted.ending?.outcome === "rejected") return this.#trial.end();
    this.#isApplying = true;
    try {
      await this.#undo(accepted, signal);
    } finally {
      this.#isApplying = false;
      for (const listen of this.#endListeners) listen();
    }
  }

  async #undo(accepted: AcceptedPlan, signal: AbortSignal): Promise<void> {
    const { log, host, steps } = this.#parts;
    const plan = decodeKept(accepted);
    const tried = this.#trial.record;
    if (tried === undefined) return;
    // Kept from the first try to undo on: a boot while it is being undone does not excuse the change.
    await this.#trial.undoing(tried.ending ?? unconfirmedEnding(tried, await host.kernel.bootId()));
    const { record } = this.#trial;
    // Confirmed in this moment.
    if (record === undefined) return;
    log.warn({ generation: plan.generation, kinds: record.kinds, files: Object.keys(record.files) }, "not confirmed: undoing");
    const enforced = this.journal.enforced && decodeKept(this.journal.enforced);
    const failure = await undo(record, {
      host,
      bound: undoneBy(record.kinds, enforced, plan, steps),
      enforced,
      memoryOf: (kind) => stepMemory(this.#parts.state, kind),
      run: (each) => this.#run(accepted, plan, each, signal, true),
    });
    signal.throwIfAborted();
    const status = failure === undefined ? "False" : "True";
    const reason = failure === undefined ? "Undone" : "NotVerified";
    if (failure !== undefined || this.#conditions.some(({ owner }) => owner === "undo")) {
      await this.#tell("undo", [{ type: "UndoFailed", status, reason, message: failure ?? "" }], accepted);
    }
    if (failure !== undefined) return log.error({ generation: plan.generation, failure }, "undo failed, tried again");
    if (this.#isSuperseded(accepted)) return;
    await this.#end(accepted, plan, record.ending ?? unconfirmedEnding(record, await host.kernel.bootId()));
  }

  /** Applies the accepted plan from where it stands until it ends; returns when there is nothing more to do now. */
  async apply(signal: AbortSignal): Promise<void> {
    this.#isApplying = true;
    try {
      for (;;) {
        const { accepted } = this.journal;
        if (!isUnfinished(accepted) || signal.aborted) return;
        const ending = await this.#applyOne(accepted, signal);
        if (ending === "superseded") continue;
        if (ending !== "stopping" && ending.outcome === "enforced")
          await this.#askProbes(accepted, decodeKept(accepted), PATIENCE_MS, signal);
        return;
      }
    } finally {
      this.#isApplying = false;
      for (const listen of this.#endListeners) listen();
    }
  }

  /** Called whenever apply has nothing more to do now. @returns what stops that */
  onEnded(listen: () => void): () => void {
    this.#endListeners.add(listen);
    return () => this.#endListeners.delete(listen);
  }

  /** Compares the machine with the enforced plan; repairs what is live, reports the rest. */
  async scan(signal: AbortSignal): Promise<void> {
    const { enforced, accepted } = this.journal;
    if (enforced === undefined) return;
    const plan = decodeKept(enforced);
    const isNewerOpen = accepted !== undefined && comparePairs(accepted, enforced) !== 0;
    // What a rejected plan had changed before its undone step goes back to what is enforced, as drift.
    const skipped = isNewerOpen && accepted.ending?.outcome !== "rejected" ? accepted.touched : [];
    const bound = boundSteps(plan, this.#parts.steps).filter(({ step }) => !skipped.includes(step.kind));
    await scanForDrift(bound, {
      parts: this.#parts,
      openDrift: this.#openDrift,
      around: (each) => this.#around(each, enforced.generation, signal),
      report: (body) => this.#parts.reporter.record([this.#event(enforced, body)]),
      tell: (owner, conditions) => this.#tell(owner, conditions, enforced),
      isNewerOpen,
      signal,
    });
    if (!isNewerOpen) await this.#askProbes(enforced, plan, 0, signal);
    this.#parts.log.info({ generation: enforced.generation, steps: bound.length, open: [...this.#openDrift.keys()] }, "drift scan ended");
  }

  /** What this plan would change here; reads only. */
  async dryRun(
    bytes: Uint8Array,
    signal: AbortSignal,
  ): Promise<{ readonly steps: StepDiff[]; readonly reason: string; readonly message: string }> {
    const rules = { nodeId: this.#parts.nodeId, supportedKinds: this.#kinds, accepted: undefined, rejectedGeneration: 0 };
    const acceptance = acceptPlan(bytes, { ...rules, nowMs: this.#parts.clock.now() });
    if (acceptance.outcome === "refused") return { steps: [], reason: acceptance.reason, message: acceptance.message };
    const { plan } = acceptance;
    const steps: StepDiff[] = [];
    for (const each of await this.#inOrder(plan)) {
      steps.push(await this.#diffOf(each, plan.generation, signal));
    }
    return { steps, reason: "", message: "" };
  }

  async #diffOf(each: BoundStep, generation: number, signal: AbortSignal): Promise<StepDiff> {
    const diff: StepDiff = { step: each.id, changes: [], reason: "", message: "" };
    try {
      const context = { ...this.#around(each, generation, signal), say: () => undefined, progress: () => undefined };
      const observed = await each.step.observe(each.spec, context);
      const refusal = each.step.refuse(each.spec, observed);
      return refusal === undefined ? { ...diff, changes: [...each.step.diff(each.spec, observed)] } : { ...diff, ...refusal };
    } catch (error) {
      if (signal.aborted || isFatal(error)) throw error;
      const { reason, message } = failureOf(error);
      return { ...diff, reason, message };
    }
  }

  async #applyOne(accepted: AcceptedPlan, signal: AbortSignal): Promise<PlanEnding | "superseded" | "stopping"> {
    const { log } = this.#parts;
    const plan = decodeKept(accepted);
    const { record } = this.#trial;
    if (record !== undefined && !this.#isTried(record)) await this.#trial.takeOver(accepted, plan.confirmDeadlineMs);
    if (this.#isCancelled(accepted)) return this.#endCancelled(accepted, plan, "");
    if (await this.#isHeld()) return "stopping";
    log.info({ generation: plan.generation, revision: plan.revision, done: accepted.done }, "applying plan");
    for (const each of await this.#inOrder(plan)) {
      const isRemoval = each.spec === each.step.emptySpec;
      if (!isRemoval && accepted.done.includes(each.id)) continue;
      if (takesLong(each.step.kind) && (await this.#asksFirst(accepted, plan))) return "stopping";
      const ending = await this.#applyStep(accepted, plan, each, signal);
      if (ending !== undefined) return ending;
      if (isRemoval) await stepMemory(this.#parts.state, each.step.kind).set(undefined);
    }
    if (this.#isSuperseded(accepted)) return "superseded";
    if (this.#trial.record !== undefined && this.#isConfirmed(plan)) await this.#trial.end();
    if (this.#trial.record === undefined) return this.#end(accepted, plan, { outcome: "enforced" });
    await this.#trial.applied();
    log.info({ generation: plan.generation }, "applied, not confirmed");
    return "stopping";
  }

  /** What was tried so far is confirmed before a step that takes long, or undone; the plan goes on when it is confirmed. */
  async #asksFirst(accepted: AcceptedPlan, plan: Plan): Promise<boolean> {
    const { record } = this.#trial;
    if (record?.phase !== "trying" || !this.#isTried(record) || this.#isConfirmed(plan) || this.#isCancelled(accepted)) return false;
    await this.#trial.applied();
    this.#parts.log.info({ generation: plan.generation, kinds: record.kinds }, "applied so far, not confirmed");
    return true;
  }

  /** undefined: the plan goes on. */
  async #applyStep(
    pair: Pair,
    plan: Plan,
    each: BoundStep,
    signal: AbortSignal,
  ): Promise<PlanEnding | "superseded" | "stopping" | undefined> {
    if (this.#isSuperseded(pair)) return "superseded";
    if (signal.aborted) return "stopping";
    if (this.#isCancelled(pair)) return this.#endCancelled(pair, plan, each.id);
    if (await this.#isHeld()) return "stopping";
    const run = await this.#run(pair, plan, each, signal);
    if (run.outcome !== "failed") return undefined;
    if (this.#isSuperseded(pair)) return "superseded";
    const { reason, message, isRetryable, isUndone } = run;
    if (isUndone && this.#trial.record !== undefined) {
      // What earlier steps have tried goes back with it: the next pass undoes it, and then the plan is rejected.
      await this.#trial.undoing({ outcome: "rejected", step: each.id, reason, message });
      return "stopping";
    }
    if (isUndone) return this.#end(pair, plan, { outcome: "rejected", step: each.id, reason, message });
    // Its time is over, also that of a step which was not waited for any longer: the next pass undoes it.
    if (await this.#isHeld()) return "stopping";
    return this.#end(pair, plan, { outcome: "failed", step: each.id, reason, message, isRetryable });
  }

  /** What was tried is undone at once, and the plan rejected then. */
  async #endCancelled(pair: Pair, plan: Plan, step: string): Promise<PlanEnding | "stopping"> {
    const cancelled = { step, reason: "Cancelled", message: "the coordinator cancelled the plan" };
    const { record } = this.#trial;
    if (record === undefined || !this.#isTried(record))
      return this.#end(pair, plan, { outcome: "failed", ...cancelled, isRetryable: false });
    await this.#trial.undoing({ outcome: "rejected", ...cancelled });
    return "stopping";
  }

  async #run(pair: Pair, plan: Plan, each: BoundStep, signal: AbortSignal, isUndo = false): Promise<StepRun> {
    const { journal, reporter, failpoint, stepDeadlineMs, clock, log } = this.#parts;
    const overdue = new AbortController();
    let unwatch = (): void => undefined;
    const { planEpoch, generation } = pair;
    const running = journal.state.accepted?.running;
    this.#parts.showProgress({ generation, step: each.id, ...stepBegun });
    const run = await runStep(
      {
        ...each,
        impactBound: plan.impactBound,
        deadlineMs: stepDeadlineMs[each.step.kind],
        unfinished: running?.step === each.id ? running.changes : undefined,
        intend: async (changes) => {
          if (isUndo) return;
          await this.#keepForUndo(pair, plan, each, changes);
          await journal.write({ type: "intent", planEpoch, generation, step: each.id, kind: each.step.kind, changes });
          reporter.note([this.#event(pair, stepStarted(each.id, changes))]);
          unwatch = this.#trial.atDeadline(clock, () =>
            overdue.abort(new DeadlineExceeded("not done by the time to be confirmed: undone")),
          );
        },
      },
      isUndo || this.#isConfirmed(plan)
        ? { ...this.#around(each, generation, signal), isUndo }
        : { ...this.#recorded(each, generation, signal), overdue: overdue.signal },
    ).finally(() => unwatch());
    log.info(
      { generation, step: each.id, outcome: run.outcome, reason: run.reason, changes: run.changes.length, durationMs: run.durationMs },
      "step ended",
    );
    this.#parts.showProgress({ generation, step: each.id, ...stepOver(run) });
    if (run.conditions !== undefined) await this.#tell(each.step.kind, run.conditions, pair);
    failpoint("report.result.before");
    await reporter.record([this.#event(pair, stepResult(each.id, run))]);
    failpoint("report.result.after");
    if (run.outcome !== "failed" && !isUndo) await journal.write({ type: "done", planEpoch, generation, step: each.id });
    return run;
  }

  async #end({ planEpoch, generation }: Pair, plan: Plan, ending: PlanEnding): Promise<PlanEnding> {
    const { journal, reporter, failpoint, log } = this.#parts;
    const pair = { planEpoch, generation };
    this.#openDrift.clear();
    await this.#tell("node", [inSync(ending)], pair);
    failpoint("report.finished.before");
    await reporter.record([this.#event(pair, planFinished(plan, ending))]);
    failpoint("report.finished.after");
    await journal.write({ type: "ended", ...pair, ending });
    await journal.compact();
    if (ending.outcome !== "failed" && this.#trial.record !== undefined) await this.#trial.end();
    if (ending.outcome === "enforced") this.#tellEvidence(pair, plan);
    this.#cancelled = undefined;
    log.info({ generation, ...ending }, "plan ended");
    return ending;
  }

  /** A node leaves its cluster by programs that the plan's own steps may take away; all else is put back after them. */
  async #inOrder(plan: Plan): Promise<readonly BoundStep[]> {
    const removals = await this.#removals(plan);
    const isFirst = ({ step }: BoundStep): boolean => step.kind === "kubeadm";
    return [...removals.filter(isFirst), ...boundSteps(plan, this.#parts.steps), ...removals.filter((each) => !isFirst(each))];
  }

  /** Kinds that have something to put back; the last one first, as it may stand on the others. */
  async #removals(plan: Plan): Promise<readonly BoundStep[]> {
    const named = new Set(plan.steps.map((step) => step.spec?.$case));
    const removals: BoundStep[] = [];
    for (const kind of this.#kinds.toReversed()) {
      if (named.has(kind)) continue;
      const memory = await stepMemory(this.#parts.state, kind).get();
      if (memory !== undefined) removals.push(removalOf(kind, plan, this.#parts.steps));
    }
    return removals;
  }

  /** Told once after each change also where it is no news, and as news after that. */
  async #askProbes(pair: Pair, plan: Plan, patienceMs: number, signal: AbortSignal): Promise<void> {
    const { host, clock, reporter } = this.#parts;
    const isManaged = plan.probes.length > 0 || this.#conditions.some(({ owner }) => owner === PROBES);
    if (!isManaged || !host.isLive) return;
    const found = await askProbes(plan.probes, {
      probes: host.probes,
      clock,
      patienceMs,
      signal,
      isOver: () => this.#isNewerAccepted(pair),
    });
    await this.#tell(PROBES, found, pair);
    if (this.#probed !== undefined && comparePairs(this.#probed, pair) === 0) return;
    this.#probed = { planEpoch: pair.planEpoch, generation: pair.generation };
    const told = this.#conditions.filter(({ owner }) => owner === PROBES);
    reporter.note(told.map((held) => this.#event(pair, { $case: "condition", value: reportOf(held) })));
  }

  /** What the steps found when they read back is told after the change also where it is no news: a rollout believes nothing older. */
  #tellEvidence(pair: Pair, plan: Plan): void {
    const owners = new Set(["node", ...plan.steps.map(({ spec }) => spec?.$case)]);
    const found = this.#conditions.filter(({ owner }) => owners.has(owner));
    this.#parts.reporter.note(found.map((held) => this.#event(pair, { $case: "condition", value: reportOf(held) })));
  }

  async #tell(owner: string, found: readonly StepCondition[], pair: Pair): Promise<void> {
    const { book, news } = tell(this.#conditions, owner, found, Math.floor(this.#parts.clock.now()));
    if (news.length === 0) return;
    this.#conditions = book;
    this.#parts.reporter.note(news.map((report) => this.#event(pair, { $case: "condition", value: report })));
    await this.#parts.state.writeFile("conditions.json", Buffer.from(JSON.stringify(book)));
  }

  #around(each: BoundStep, generation: number, signal: AbortSignal): StepSurroundings {
    const { host, clock, state, output, showProgress, failpoint, credentials } = this.#parts;
    return {
      host,
      clock,
      output,
      failpoint,
      credentials,
      generation,
      memory: stepMemory(state, each.step.kind),
      progress: (progress) => showProgress({ generation, step: each.id, ...progress }),
      signal,
    };
  }

  #recorded(each: BoundStep, generation: number, signal: AbortSignal): StepSurroundings {
    return { ...this.#around(each, generation, signal), host: recordingHost(this.#parts.host, this.#trial, each.step.kind) };
  }

  /** I4: durable before the first effect. */
  async #keepForUndo({ planEpoch, generation }: Pair, plan: Plan, { id, step }: BoundStep, changes: readonly Change[]): Promise<void> {
    if (this.#isConfirmed(plan)) return;
    const { accepted, enforced } = this.journal;
    const { confirmDeadlineMs } = plan;
    if (canCutOff(step.kind, changes, [plan, enforced && decodeKept(enforced)])) {
      const memory = await stepMemory(this.#parts.state, step.kind).get();
      await this.#trial.begin({ planEpoch, generation, kind: step.kind, memory, confirmDeadlineMs });
    } else if (accepted?.failures === 0 && accepted.running?.step !== id) {
      await this.#trial.intended();
    }
  }

  /** Nobody has to say so. */
  #isConfirmed({ confirmDeadlineMs }: Plan): boolean {
    return confirmDeadlineMs === 0 || this.#parts.isOffline === true || !this.#parts.host.isLive;
  }

  /** The accepted plan waits for its confirmation, or has to be undone. */
  async #isHeld(): Promise<boolean> {
    const { record } = this.#trial;
    if (record === undefined || !this.#isTried(record)) return false;
    return record.phase !== "trying" || (await this.#trial.leftMs()) <= 0;
  }

  #isTried(pair: Pair): boolean {
    const { accepted } = this.journal;
    return accepted !== undefined && comparePairs(accepted, pair) === 0;
  }

  #isCancelled(pair: Pair): boolean {
    return this.#cancelled !== undefined && comparePairs(this.#cancelled, pair) === 0;
  }

  #isNewerAccepted(pair: Pair): boolean {
    const { accepted } = this.journal;
    return accepted !== undefined && comparePairs(accepted, pair) > 0;
  }

  #isSuperseded(pair: Pair): boolean {
    const { accepted } = this.journal;
    return accepted === undefined || comparePairs(accepted, pair) !== 0;
  }

  #event(pair: Pair | undefined, body: Parameters<typeof eventOf>[2]): ReturnType<typeof eventOf> {
    return eventOf(this.#parts.clock.now(), pair, body);
  }
}

/** What was told can be told again: a file that cannot be read is no reason to stop. */
function bookIn(text: string, log: EngineParts["log"]): ConditionBook {
  try {
    const book: unknown = JSON.parse(text);
    if (Array.isArray(book)) return book as ConditionBook;
  } catch {
    // Said below.
  }
  log.warn({}, "conditions.json is unreadable: conditions are told anew");
  return [];
}

function decodeKept(kept: { readonly plan: string }): Plan {
  return Plan.decode(Buffer.from(kept.plan, "base64"));
}

/** A boot in the window has proved nothing against the change: told apart, so that the coordinator may give the node a new generation. */
function unconfirmedEnding(record: TryRecord, bootId: string): Extract<PlanEnding, { outcome: "rejected" }> {
  const wasBooted = record.bootId !== bootId;
  const what = [...record.kinds, ...Object.keys(record.files)].join(", ");
  const why = wasBooted
    ? "the machine booted before it was confirmed"
    : `not confirmed within ${record.confirmDeadlineMs} ms of the last change`;
  const reason = wasBooted ? "BootedUnconfirmed" : "NotConfirmed";
  return { outcome: "rejected", step: "", reason, message: `${why}; undone and read back: ${what}`.slice(0, 1000) };
}

function inSync(ending: PlanEnding): StepCondition {
  if (ending.outcome === "enforced") return { type: "InSync", status: "True", reason: "Enforced", message: "" };
  const message = ending.step !== "" ? `${ending.step}: ${ending.message}` : ending.message;
  return { type: "InSync", status: "False", reason: ending.reason, message };
}
