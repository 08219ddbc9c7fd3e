/** The write-ahead journal: a record is durable before anything relies on it. What records mean is journal-state.ts's. */
import type { DurableLog, StateDirectory } from "../ports.ts";
import { type Failpoint, noFailpoint } from "./failpoints.ts";
import { applyRecord, type JournalRecord, type JournalState, replay } from "./journal-state.ts";

const COMPACT_ABOVE_BYTES = 256 * 2 ** 10;
const COMPACT_ABOVE_RECORDS = 200;

const failpointOf = {
  accepted: ["journal.accepted.before", "journal.accepted.after"],
  intent: ["journal.intent.before", "journal.intent.after"],
  done: ["journal.done.before", "journal.done.after"],
  ended: ["journal.ended.before", "journal.ended.after"],
  snapshot: ["journal.compacted.before", "journal.compacted.after"],
} as const;

export class Journal {
  readonly #log: DurableLog;
  readonly #failpoint: Failpoint;
  #state: JournalState;
  /** Records on their way to the disk: `state` does not show them yet. */
  #underWay = 0;

  private constructor(log: DurableLog, failpoint: Failpoint, state: JournalState) {
    this.#log = log;
    this.#failpoint = failpoint;
    this.#state = state;
  }

  static async open(directory: StateDirectory, failpoint: Failpoint = noFailpoint): Promise<Journal> {
    const log = await directory.openLog("journal");
    const records = log.records.map((record) => JSON.parse(record.payload.toString()) as JournalRecord);
    return new Journal(log, failpoint, replay(records));
  }

  get state(): JournalState {
    return this.#state;
  }

  /** Durable when resolved; only then does `state` show it. */
  async write(record: JournalRecord): Promise<void> {
    const [before, after] = failpointOf[record.type];
    this.#failpoint(before);
    this.#underWay += 1;
    const sequence = await this.#log.append(Buffer.from(JSON.stringify(record))).finally(() => (this.#underWay -= 1));
    this.#state = applyRecord(this.#state, record);
    this.#failpoint(after);
    if (record.type === "snapshot") await this.#log.trimThrough(sequence - 1);
  }

  /** Forgets what no longer counts, when there is much of it. Called between plans. */
  async compact(): Promise<void> {
    // A snapshot behind a plan that is just being accepted would undo its acceptance; the next time does as well.
    if (this.#underWay > 0) return;
    // A log in use holds at least one snapshot: its size alone says nothing.
    const isLong = this.#log.records.length > COMPACT_ABOVE_RECORDS;
    const isLarge = this.#log.records.length > 10 && this.#log.sizeBytes > COMPACT_ABOVE_BYTES;
    if (isLong || isLarge) await this.write({ type: "snapshot", state: this.#state });
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}
