/** Durable state in memory: what tests and the simulation crash and start again. */
import type { DurableLog, LogRecord, StateDirectory } from "../ports.ts";

export class StateIsDown extends Error {
  override readonly name = "StateIsDown";
  readonly isFatal = true;
}

interface LogContent {
  records: LogRecord[];
  nextSequence: number;
  /** Trimmed records that a crash brings back. */
  lazilyTrimmed: LogRecord[];
}

export class MemoryStateDirectory implements StateDirectory {
  readonly #files = new Map<string, Buffer>();
  readonly #logs = new Map<string, LogContent>();
  /** Rises with each crash: what a dead life still holds in its hands can change nothing. */
  #life = 0;
  #writes = 0;

  /** Durable writes so far, over all lives. */
  get writes(): number {
    return this.#writes;
  }

  /**
   * The process dies: handles of this life stop working, what was durable stays, appends under way are lost.
   * @param options.untrim whether lazily trimmed records come back, as they may on a disk
   */
  crash(options: { readonly untrim?: boolean } = {}): void {
    this.#life += 1;
    for (const content of this.#logs.values()) {
      if (options.untrim === true) content.records = [...content.lazilyTrimmed, ...content.records];
      content.lazilyTrimmed = [];
    }
  }

  async readFile(name: string): Promise<Buffer | undefined> {
    const content = this.#files.get(name);
    return content && Buffer.from(content);
  }

  async writeFile(name: string, content: Uint8Array): Promise<void> {
    const life = this.#life;
    const copy = Buffer.from(content);
    await this.#sync(life);
    this.#files.set(name, copy);
  }

  async removeFile(name: string): Promise<void> {
    await this.#sync(this.#life);
    this.#files.delete(name);
  }

  async openLog(name: string): Promise<DurableLog> {
    let content = this.#logs.get(name);
    if (content === undefined) {
      content = { records: [], nextSequence: 1, lazilyTrimmed: [] };
      this.#logs.set(name, content);
    }
    const life = this.#life;
    return new MemoryLog(content, () => this.#sync(life));
  }

  async removeLog(name: string): Promise<void> {
    await this.#sync(this.#life);
    this.#logs.delete(name);
  }

  /** A view for one life of a process: all its calls fail once crash() was called. */
  session(): StateDirectory {
    const life = this.#life;
    const whileAlive = <T>(work: () => Promise<T>): Promise<T> =>
      life === this.#life ? work() : Promise.reject(new StateIsDown("this life of the process has ended"));
    return {
      readFile: (name) => whileAlive(() => this.readFile(name)),
      writeFile: (name, content) => whileAlive(() => this.writeFile(name, content)),
      removeFile: (name) => whileAlive(() => this.removeFile(name)),
      openLog: (name) => whileAlive(() => this.openLog(name)),
      removeLog: (name) => whileAlive(() => this.removeLog(name)),
    };
  }

  async #sync(life: number): Promise<void> {
    await Promise.resolve();
    if (life !== this.#life) throw new StateIsDown("this life of the process has ended");
    this.#writes += 1;
  }
}

class MemoryLog implements DurableLog {
  readonly #content: LogContent;
  readonly #sync: () => Promise<void>;
  #waiting: { readonly payload: Buffer; readonly resolve: (sequence: number) => void; readonly reject: (error: unknown) => void }[] = [];

  constructor(content: LogContent, sync: () => Promise<void>) {
    this.#content = content;
    this.#sync = sync;
  }

  get records(): readonly LogRecord[] {
    return this.#content.records;
  }

  get sizeBytes(): number {
    return this.#content.records.reduce((sum, record) => sum + 24 + record.payload.length, 0);
  }

  get nextSequence(): number {
    return this.#content.nextSequence + this.#waiting.length;
  }

  append(payload: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ payload: Buffer.from(payload), resolve, reject });
      if (this.#waiting.length === 1) void this.#writeWaiting();
    });
  }

  async trimThrough(sequence: number): Promise<void> {
    await this.#sync();
    const { records } = this.#content;
    this.#content.lazilyTrimmed = records.filter((record) => record.sequence <= sequence);
    this.#content.records = records.filter((record) => record.sequence > sequence);
  }

  async close(): Promise<void> {}

  async #writeWaiting(): Promise<void> {
    let failure: unknown;
    try {
      await this.#sync();
    } catch (error) {
      failure = error;
    }
    for (const { payload, resolve, reject } of this.#waiting.splice(0)) {
      if (failure !== undefined) {
        reject(failure);
        continue;
      }
      const sequence = this.#content.nextSequence++;
      this.#content.records.push({ sequence, payload });
      resolve(sequence);
    }
  }
}
