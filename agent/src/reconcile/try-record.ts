/**
 * The try record (I4): what a change that may cut the node off found when it began, durable before its first effect. While the record is
 * there the change is not confirmed; confirming is removing it. A newer plan takes it over with the originals from before the first change.
 */
import type { Clock } from "@drover/lifecycle";
import type { Kernel } from "../host/host.ts";
import type { StateDirectory } from "../ports.ts";
import type { StepKind } from "@drover/proto";
import type { Pair, PlanEnding } from "./journal-state.ts";

export const TRY_RECORD_FILE = "try.json";
const LOOK_AGAIN_MS = 5_000;

/** Content in Base64. */
export type OriginalFile =
  | { readonly kind: "absent" }
  | { readonly kind: "file"; readonly content: string; readonly mode: number; readonly uid: number }
  | { readonly kind: "symlink"; readonly target: string };

export interface TryRecord extends Pair {
  readonly bootId: string;
  /** On the boot-time clock of that boot. */
  readonly deadlineMs: number;
  readonly confirmDeadlineMs: number;
  /** trying: steps are under way; applied: all are done and the coordinator is asked; undoing: no confirmation counts any more. */
  readonly phase: "trying" | "applied" | "undoing";
  /** Kinds with changes that may cut the node off, in the order of their first change. */
  readonly kinds: readonly StepKind[];
  readonly files: Readonly<Record<string, OriginalFile>>;
  readonly sysctls: Readonly<Record<string, string>>;
  /** What those kinds' steps remembered; null: nothing. */
  readonly memories: Readonly<Partial<Record<StepKind, unknown>>>;
  /** How the plan ends once it is undone; undefined: it was not confirmed. */
  readonly ending: Extract<PlanEnding, { outcome: "rejected" }> | undefined;
  /** The files and memories were put back before anything of another boot read them. */
  readonly isPreseeded: boolean;
}

/** What is kept of a change, and when it has to be confirmed. */
export interface TryOrder extends Pair {
  readonly kind: StepKind;
  readonly memory: unknown;
  readonly confirmDeadlineMs: number;
}

export class Trial {
  readonly #state: StateDirectory;
  readonly #kernel: Kernel;
  #record: TryRecord | undefined;

  private constructor(state: StateDirectory, kernel: Kernel, record: TryRecord | undefined) {
    this.#state = state;
    this.#kernel = kernel;
    this.#record = record;
  }

  static async open(state: StateDirectory, kernel: Kernel): Promise<Trial> {
    return new Trial(state, kernel, await readTryRecord(state));
  }

  /** undefined: nothing waits for a confirmation. */
  get record(): TryRecord | undefined {
    return this.#record;
  }

  /** Durable when it resolves; effects of that kind begin after it. The deadline starts anew. */
  async begin({ planEpoch, generation, kind, memory, confirmDeadlineMs }: TryOrder): Promise<void> {
    const [bootId, uptimeMs] = [await this.#kernel.bootId(), await this.#kernel.uptimeMs()];
    const known = this.#record;
    const isKnown = known?.kinds.includes(kind) === true;
    const isResumed = isKnown && known.bootId === bootId && known.planEpoch === planEpoch && known.generation === generation;
    await this.#write({
      planEpoch,
      generation,
      bootId,
      // A retry, or a step that is resumed, gets no more time: failing for ever would never be undone.
      deadlineMs: isResumed ? known.deadlineMs : uptimeMs + confirmDeadlineMs,
      confirmDeadlineMs,
      phase: "trying",
      kinds: isKnown ? known.kinds : [...(known?.kinds ?? []), kind],
      files: known?.files ?? {},
      sysctls: known?.sysctls ?? {},
      memories: isKnown ? known.memories : { ...known?.memories, [kind]: memory ?? null },
      ending: undefined,
      isPreseeded: false,
    });
  }

  /** A newer plan changes on: the deadline starts anew with it. */
  async takeOver({ planEpoch, generation }: Pair, confirmDeadlineMs: number): Promise<void> {
    if (this.#record === undefined) return;
    const limitMs = confirmDeadlineMs === 0 ? this.#record.confirmDeadlineMs : confirmDeadlineMs;
    await this.#write({
      ...this.#record,
      planEpoch,
      generation,
      bootId: await this.#kernel.bootId(),
      deadlineMs: (await this.#kernel.uptimeMs()) + limitMs,
      confirmDeadlineMs: limitMs,
      phase: "trying",
      ending: undefined,
      isPreseeded: false,
    });
  }

  /** A step goes on: the deadline starts anew. */
  async intended(): Promise<void> {
    if (this.#record === undefined) return;
    await this.#write({ ...this.#record, deadlineMs: (await this.#kernel.uptimeMs()) + this.#record.confirmDeadlineMs });
  }

  /** The first original of each path counts. */
  async keepFile(path: string, original: () => Promise<OriginalFile | undefined>): Promise<void> {
    if (this.#record === undefined || Object.hasOwn(this.#record.files, path)) return;
    const found = await original();
    if (found === undefined) return;
    await this.#write({ ...this.#record, files: { ...this.#record.files, [path]: found } });
  }

  async keepSysctl(key: string): Promise<void> {
    if (this.#record === undefined || Object.hasOwn(this.#record.sysctls, key)) return;
    const value = await this.#kernel.readSysctl(key);
    if (value !== undefined) await this.#write({ ...this.#record, sysctls: { ...this.#record.sysctls, [key]: value } });
  }

  /** All steps are done: from now on a confirmation counts. */
  async applied(): Promise<void> {
    if (this.#record?.phase === "trying") await this.#write({ ...this.#record, phase: "applied" });
  }

  async undoing(ending: TryRecord["ending"]): Promise<void> {
    if (this.#record === undefined || this.#record.phase === "undoing") return;
    await this.#write({ ...this.#record, phase: "undoing", ending });
  }

  /** Confirmed, or undone and told: nothing is to be put back any more. */
  async end(): Promise<void> {
    // In memory at once: from here on nobody begins to undo it.
    this.#record = undefined;
    await this.#state.removeFile(TRY_RECORD_FILE);
  }

  /** Milliseconds until it has to be undone, zero or less: now. Another boot never confirms. */
  async leftMs(): Promise<number> {
    const record = this.#record;
    if (record === undefined) return Number.POSITIVE_INFINITY;
    if (record.phase === "undoing" || record.bootId !== (await this.#kernel.bootId())) return 0;
    return record.deadlineMs - (await this.#kernel.uptimeMs());
  }

  /** Calls `act` once when it has to be undone. @returns what stops the watch */
  atDeadline(clock: Clock, act: () => void): () => void {
    let isOver = false;
    let cancel = (): void => undefined;
    const look = async (): Promise<void> => {
      const leftMs = await this.leftMs();
      if (isOver || this.#record === undefined) return;
      if (leftMs <= 0) return act();
      // The boot-time clock goes on while the machine is suspended, our timers do not: looked at now and then.
      cancel = clock.setTimer(Math.min(leftMs, LOOK_AGAIN_MS), watch);
    };
    const watch = (): void => void look().catch(() => undefined);
    watch();
    return () => {
      isOver = true;
      cancel();
    };
  }

  async #write(record: TryRecord): Promise<void> {
    // In memory at once, so that what is asked meanwhile is answered by the later of two.
    this.#record = record;
    await this.#state.writeFile(TRY_RECORD_FILE, Buffer.from(JSON.stringify(record)));
  }
}

/** undefined: there is none. @throws when it is no try record: it is replaced whole, so nobody but a person has changed it */
export async function readTryRecord(state: Pick<StateDirectory, "readFile">): Promise<TryRecord | undefined> {
  const content = await state.readFile(TRY_RECORD_FILE);
  if (content === undefined) return undefined;
  try {
    const record = JSON.parse(content.toString()) as TryRecord;
    if (typeof record.bootId === "string" && typeof record.files === "object" && Array.isArray(record.kinds)) return record;
  } catch {
    // Said below.
  }
  throw new Error(
    `${TRY_RECORD_FILE} in the state directory is damaged: what a change found cannot be put back; remove it to go on without`,
  );
}
