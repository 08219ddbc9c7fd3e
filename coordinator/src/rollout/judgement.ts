/** One judgement of decide(): every node has its standing, then nodes get their turn in order while budgets last. Pure. */
import { IMPACTS } from "./approval.ts";
import { Budget, type Place, type Refusal } from "./budget.ts";
import { type Failure, fingerprintsOf, names, type Stop, stopOf } from "./failures.ts";
import {
  type Block,
  blockOf,
  effectiveImpact,
  freshBlock,
  isHolding,
  type Judged,
  laterWave,
  isStuck,
  needsDrain,
  type Scene,
  setBlock,
} from "./blocks.ts";
import type { Decision, Elsewhere, FleetNode, Progress, RolloutInput } from "./model.ts";
import { summaryOf } from "./progress.ts";
import { DONE, FRESH, type RollCall } from "./roll-call.ts";
import { isInChange, isPlanAtWork, isUnavailable, seconds, standingOf } from "./standing.ts";
import { MAX_WAITS, Waits } from "./waits.ts";
import { type Slice, slicesOf, statesOf, type WaveState, type WaveTally } from "./waves.ts";

interface FleetTally extends WaveTally {
  fresh: number;
}

export class Judgement {
  readonly #input: RolloutInput;
  readonly #call: RollCall;
  readonly #now: number;
  readonly #slices: readonly Slice[];
  readonly #tallies: readonly FleetTally[];
  readonly #budget: Budget;
  readonly #restless: Judged[] = [];
  readonly #failures: Failure[] = [];
  readonly #away: number[] = [];
  readonly #decisions: Decision[] = [];
  readonly #waits = new Waits(this.#decisions);
  readonly #stuck: Judged[] = [];
  #hasBegun = false;
  #hasRefused = false;
  /** Waits of fresh nodes that are told one by one; the others are only counted. */
  #freshWaits = MAX_WAITS;
  #nextMs = Infinity;

  constructor(input: RolloutInput, call: RollCall, elsewhere: readonly Elsewhere[], now: number) {
    this.#input = input;
    this.#call = call;
    this.#now = now;
    this.#slices = slicesOf(input.strategy, call.order.length, input.promotedWave);
    this.#tallies = this.#slices.map(() => ({ updated: 0, soaking: 0, holding: 0, isBegun: false, impact: 0, fresh: 0 }));
    this.#budget = new Budget(input.strategy, call.topology, elsewhere);
  }

  decisions(): readonly Decision[] {
    for (const wave of this.#slices.keys()) this.#lookAt(wave);
    const { strategy, waveGates } = this.#input;
    const fingerprints = fingerprintsOf(this.#failures, this.#input);
    const stop = stopOf(this.#failures, fingerprints, this.#input);
    const waves = statesOf(this.#input, this.#slices, this.#tallies, IMPACTS);
    const running = waves.findIndex(({ isPassed }) => !isPassed);
    const scene: Scene = {
      input: this.#input,
      now: this.#now,
      waves,
      current: running < 0 ? waves.length - 1 : running,
      isStopped: stop !== undefined,
      setBlock: setBlock(this.#input, stop, this.#call.order.length, Math.max(0, ...this.#tallies.map(({ impact }) => impact))),
    };
    this.#freshWaits = Math.max(0, MAX_WAITS - this.#restless.length);
    this.#giveTurns(scene);
    const gated = waves.findIndex(({ phase }) => phase === "Gated");
    if (gated >= 0 && strategy.hasWebhook && !waveGates.has(gated + 1)) this.#decisions.push({ type: "askGate", wave: gated + 1 });
    this.#waits.word(this.#budget, () => names(this.#away.sort((a, b) => a - b).map((rank) => this.#call.node(rank).name)));
    this.#decisions.push(this.#progress(scene, stop, fingerprints));
    this.#askAgain(waves);
    return this.#decisions;
  }

  /** First of all: how everybody stands, and what is spent. */
  #lookAt(wave: number): void {
    const { from, to } = this.#slices[wave]!;
    const tally = this.#tallies[wave]!;
    const { ease, impacts } = this.#call;
    let done = 0;
    let fresh = 0;
    let impact = 0;
    for (let rank = from; rank < to; rank += 1) {
      const how = ease[rank];
      if (how === DONE) done += 1;
      else if (how === FRESH) {
        fresh += 1;
        if (impacts[rank]! > impact) impact = impacts[rank]!;
      } else this.#judge(rank, wave);
    }
    tally.updated += done;
    tally.fresh = fresh;
    tally.holding += fresh;
    tally.impact = Math.max(tally.impact, impact);
  }

  #judge(rank: number, wave: number): void {
    const tally = this.#tallies[wave]!;
    const node = this.#call.node(rank);
    const standing = standingOf(node, this.#input, this.#slices[wave]!.soakMs, this.#now);
    const judged: Judged = {
      rank,
      node,
      standing,
      wave,
      isInChange: isInChange(node, standing),
      isCounted: isUnavailable(node, standing),
      isAtWork: isPlanAtWork(standing),
    };
    this.#restless.push(judged);
    if (judged.isCounted) {
      this.#budget.count(this.#call.places[rank]!, judged.isInChange);
      this.#away.push(rank);
    }
    const { is } = standing;
    if (is === "updated" || is === "soaking") tally.updated += 1;
    if (is === "soaking") tally.soaking += 1;
    if (is === "failed" && standing.isOurs) this.#failures.push({ node, standing });
    if (judged.isInChange) tally.isBegun = true;
    if (isHolding(judged, this.#now)) tally.holding += 1;
    if (is === "behind" || is === "failed" || (is === "changing" && !standing.isOurs)) {
      tally.impact = Math.max(tally.impact, IMPACTS.indexOf(effectiveImpact(node, this.#input)));
    }
    if (is === "updated") this.#call.noteAgain(rank);
    if (is === "soaking") this.#moment(standing.untilMs);
    if (is === "gating" || (is === "failed" && node.maintenance !== undefined)) this.#moment(standing.deadlineMs);
    if (is === "changing" && (standing.isOurs || this.#slices.length > 1)) this.#moment(standing.deadlineMs);
  }

  #giveTurns(scene: Scene): void {
    const { ease } = this.#call;
    const restless = this.#restless;
    const late: Judged[] = [];
    let next = 0;
    const turn = (): void => {
      const judged = restless[next]!;
      next += 1;
      const what = this.#turn(judged, scene);
      if (what === "late") late.push(judged);
      if (what === "stuck") this.#stuck.push(judged);
    };
    for (const [wave, { from, to }] of this.#slices.entries()) {
      const fresh = freshBlock(scene, wave);
      let left = this.#tallies[wave]!.fresh;
      for (let rank = from; left > 0; rank += 1) {
        if (restless[next]?.rank === rank) {
          turn();
          continue;
        }
        if (ease[rank] !== FRESH) continue;
        const reason = fresh?.reason ?? (this.#isSpent() ? "BudgetSpent" : undefined);
        if (reason !== undefined && this.#freshWaits === 0) {
          // Nobody else of the wave may begin, and enough of them have been told: the rest are counted.
          this.#hasRefused ||= fresh === undefined;
          this.#waits.count(reason, left);
          break;
        }
        left -= 1;
        if (fresh === undefined) this.#freshTurn(rank);
        else this.#freshWait(rank, fresh);
      }
      while (restless[next] !== undefined && restless[next]!.rank < to) turn();
    }
    for (const judged of late) this.#begin(judged);
    this.#unjam(scene);
  }

  #isSpent(): boolean {
    return this.#budget.unavailable >= this.#input.strategy.maxUnavailable;
  }

  /** What an earlier plan left broken in a later wave may spend the whole budget: then one such node goes first, for nobody else ever could. */
  #unjam({ waves, current, input }: Scene): void {
    const stuck = new Set(this.#stuck);
    const isJammed = !this.#hasBegun && this.#hasRefused && this.#restless.every((judged) => !judged.isInChange || stuck.has(judged));
    for (const [index, judged] of this.#stuck.entries()) {
      const { reason, message } = laterWave(waves, current, judged.wave, input);
      if (index === 0 && isJammed) this.#begin(judged);
      else this.#waits.tell(judged.node, reason, message);
    }
  }

  #freshTurn(rank: number): void {
    const place = this.#call.places[rank]!;
    const refusal = this.#budget.refusal(place, false);
    if (refusal !== undefined) {
      this.#refuse(this.#call.node(rank), place, false, refusal, true);
      return;
    }
    this.#budget.take(place, false);
    this.#away.push(rank);
    this.#act(this.#call.node(rank));
  }

  #freshWait(rank: number, { reason, message }: Block): void {
    this.#freshWaits -= 1;
    this.#waits.tell(this.#call.node(rank), reason, message);
  }

  /** @returns who may begin when all others have had their turn, and who is broken by an earlier plan and not of a wave that has come */
  #turn(judged: Judged, scene: Scene): "late" | "stuck" | undefined {
    const { node, standing } = judged;
    const { nodeId, name } = node;
    if (standing.is === "updated" || standing.is === "soaking") {
      if (!standing.isSettled) this.#decisions.push({ type: "settle", nodeId, name });
      if (standing.is === "soaking") {
        if (standing.message !== undefined) this.#waits.tell(node, "GatePending", standing.message);
        else this.#waits.tell(node, "Soaking", `changed; must stay right for ${seconds(scene.waves[judged.wave]!.soakMs)}`);
      }
      const isDrifting = standing.is === "updated" && node.drift !== undefined;
      if (!isDrifting || !standing.isSettled) {
        const isToMove = standing.is === "updated" && (isDrifting || node.desired?.isRejoinDue === true);
        if (!isToMove || scene.input.isAborted) this.#letGo(judged, true);
        return undefined;
      }
    }
    const block = blockOf(judged, scene);
    if (block === undefined) {
      const isRevisit = node.maintenance?.phase === "timedOut";
      if (standing.is === "updated" || isRevisit) return "late";
      this.#begin(judged);
      return undefined;
    }
    if (block.reason === "LaterWave" && isStuck(judged, scene.now) && scene.waves[judged.wave]!.isApproved) return "stuck";
    if (block.atMs !== undefined) this.#moment(block.atMs);
    if (block.isLettingGo) this.#letGo(judged, block.reason === "Failed" || scene.input.isAborted);
    this.#waits.tell(node, block.reason, block.message);
    return undefined;
  }

  #begin(judged: Judged): void {
    const { node, rank, isCounted } = judged;
    const place = this.#call.places[rank]!;
    if (!judged.isInChange) {
      const refusal = this.#budget.refusal(place, isCounted);
      if (refusal !== undefined) {
        this.#refuse(node, place, isCounted, refusal, false);
        return;
      }
      this.#budget.take(place, isCounted);
      if (!isCounted) this.#away.push(rank);
    }
    this.#act(node);
  }

  #act(node: FleetNode): void {
    this.#hasBegun = true;
    const { nodeId, name, maintenance } = node;
    if (needsDrain(node, this.#input) && maintenance?.phase !== "drained") {
      const deadlineAtMs = this.#now + this.#input.strategy.drain.deadlineMs;
      this.#decisions.push({ type: "drain", nodeId, name, deadlineAtMs });
    } else this.#decisions.push({ type: "move", nodeId, name });
  }

  /** @param isEnded also a drain that timed out, and would be tried again, is forgotten */
  #letGo({ node }: Judged, isEnded: boolean): void {
    const { nodeId, name, maintenance } = node;
    if (maintenance?.owner !== "Rollout" || maintenance.wanted === "release") return;
    if (maintenance.phase === "timedOut" && !isEnded) return;
    this.#decisions.push({ type: "release", nodeId, name });
  }

  #refuse(node: FleetNode, place: Place, isCounted: boolean, refusal: Refusal, isFresh: boolean): void {
    this.#hasRefused = true;
    if (isFresh && this.#freshWaits === 0) {
      this.#waits.count(refusal, 1);
      return;
    }
    if (isFresh) this.#freshWaits -= 1;
    this.#waits.refuse(node, place, isCounted, refusal);
  }

  #progress(scene: Scene, stop: Stop | undefined, fingerprints: Progress["fingerprints"]): Progress {
    const { waves } = scene;
    let updated = 0;
    let soaking = 0;
    for (const wave of waves) {
      updated += wave.updated;
      soaking += wave.soaking;
    }
    const total = this.#call.order.length;
    const isBegun = updated > 0 || this.#failures.length > 0 || this.#budget.changing > 0;
    return {
      type: "progress",
      ...summaryOf({ scene, stop, total, done: updated - soaking, isBegun, decisions: this.#decisions, waiting: this.#waits.counts }),
      total,
      updated,
      inChange: this.#budget.changing,
      failed: this.#failures.length,
      waitingCounts: this.#waits.counts,
      waves: waves.map(({ name, from, to, updated, phase, approvalDigest }) => ({
        name,
        nodes: to - from,
        updated,
        phase,
        approvalDigest,
      })),
      fingerprints,
    };
  }

  #moment(atMs: number): void {
    if (atMs > this.#now && atMs < this.#nextMs) this.#nextMs = atMs;
  }

  #askAgain(waves: readonly WaveState[]): void {
    const { opening } = this.#input;
    const isDone = waves.every(({ updated, soaking, from, to }) => updated - soaking === to - from);
    const changesMs = opening.isOpen ? opening.closesAtMs : opening.opensAtMs;
    if (!isDone && changesMs !== undefined) this.#moment(changesMs);
    if (this.#nextMs < Infinity) this.#decisions.push({ type: "askAgain", atMs: this.#nextMs });
  }
}
