/** What is true of one node, whatever the coordinator believes: what it was given, what it is doing, and what it has told. For tests. */
import type { FleetNode, FleetObserved, Labels } from "../model.ts";

export interface Pair {
  readonly planEpoch: number;
  readonly generation: number;
  readonly revision: string;
}

export interface Ending {
  readonly outcome: "enforced" | "failed" | "rejected" | "refused";
  readonly reason?: string;
  readonly message?: string;
}

interface Report {
  readonly seq: number;
  readonly observed: FleetObserved;
}

export class Machine {
  readonly nodeId: string;
  readonly name: string;
  labels: Labels;
  set: string;
  isUp = true;
  verdict: FleetNode["verdict"] = "healthy";
  verdictReason = "Beating";
  obstacle: FleetNode["obstacle"];
  disruption: string | undefined;
  impact: FleetNode["impact"] = "live";
  drift: FleetNode["drift"];
  isDrainable = false;
  gate: FleetNode["gate"] = { state: "passed", message: "" };
  /** How its work on a revision ends; "failed" is tried again by the machine itself. */
  fate: (revision: string, tries: number) => Ending = () => ({ outcome: "enforced" });
  workMs = 5_000;
  /** A PodDisruptionBudget that never lets go. */
  isDrainStuck = false;
  isCordoned = false;
  held: Pair | undefined;
  state: "idle" | "working" | "ended" | "retrying" = "idle";
  enforcedRevision: string | undefined;
  startedAtMs = 0;
  #tries = 0;
  #outbox: Report[] = [];
  #seq = 0;
  #cursor = 0;
  observed: FleetObserved | undefined;

  constructor(name: string, set: string, labels: Labels, nodeId = `id-${name}`) {
    this.name = name;
    this.set = set;
    this.labels = labels;
    this.nodeId = nodeId;
  }

  get unsent(): readonly Report[] {
    return this.#outbox;
  }

  /** I2: only what is newer than what it holds is taken. */
  deliver(pair: Pair, nowMs: number): boolean {
    if (!this.isUp || this.obstacle?.reason === "Unsupported" || !isNewer(pair, this.held)) return false;
    this.held = pair;
    this.state = "working";
    this.startedAtMs = nowMs;
    this.#tell({ outcome: "accepted" });
    return true;
  }

  work(nowMs: number): boolean {
    if (!this.isUp || this.held === undefined || (this.state !== "working" && this.state !== "retrying")) return false;
    if (nowMs - this.startedAtMs < this.workMs) return false;
    this.#tries += 1;
    const ending = this.fate(this.held.revision, this.#tries);
    this.startedAtMs = nowMs;
    const isSame = ending.outcome === "failed" && this.state === "retrying";
    this.state = ending.outcome === "failed" ? "retrying" : "ended";
    if (ending.outcome === "enforced") {
      this.enforcedRevision = this.held.revision;
      this.drift = undefined;
    }
    if (!isSame) this.#tell(ending);
    return !isSame;
  }

  /** The newest plan has not come to its end here. */
  get isAtWork(): boolean {
    return this.state === "working" || this.state === "retrying";
  }

  /** Reports are taken without a gap and once; what comes out of order or twice is not taken. @returns whether it was news */
  receive(report: Report): boolean {
    if (report.seq !== this.#cursor + 1) return false;
    this.#cursor = report.seq;
    this.observed = report.observed;
    this.#outbox = this.#outbox.filter(({ seq }) => seq > this.#cursor);
    return true;
  }

  /** The same place, empty: another identity, nothing held, nothing told. */
  replacement(nodeId: string): Machine {
    const fresh = new Machine(this.name, this.set, this.labels, nodeId);
    fresh.impact = this.impact;
    fresh.isDrainable = this.isDrainable;
    return fresh;
  }

  #tell({ outcome, reason = "", message = "" }: Ending | { outcome: "accepted"; reason?: string; message?: string }): void {
    const { planEpoch, generation } = this.held!;
    const isGood = outcome === "enforced" || outcome === "accepted";
    const fingerprint = isGood ? undefined : `step: ${reason}: ${message}`;
    this.#seq += 1;
    this.#outbox.push({ seq: this.#seq, observed: { planEpoch, generation, outcome, reason, message, fingerprint } });
  }
}

function isNewer(pair: Pair, held: Pair | undefined): boolean {
  if (held === undefined) return true;
  return pair.planEpoch === held.planEpoch ? pair.generation > held.generation : pair.planEpoch > held.planEpoch;
}
