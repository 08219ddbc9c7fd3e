/** Which rungs were asked for, begun and done, durably: a request is done once, however often it is asked. */
import type { StateDirectory } from "../ports.ts";

export interface RungEnd {
  readonly done: boolean;
  /** CamelCase; empty when done. */
  readonly reason: string;
  readonly message: string;
}

export interface RungEntry {
  readonly requestId: string;
  /** What was asked, as one word: the same id with another is a mistake of who asks. */
  readonly rung: string;
  /** Of the boot in which it was begun. */
  readonly bootId: string;
  /** undefined: begun, and nobody knows whether it was done. */
  readonly end?: RungEnd;
}

const FILE = "rungs.json";
const MAX_ENTRIES = 32;

export class RungBook {
  readonly #state: StateDirectory;
  #entries: readonly RungEntry[];

  private constructor(state: StateDirectory, entries: readonly RungEntry[]) {
    this.#state = state;
    this.#entries = entries;
  }

  /** @throws when what is on disk is none of ours */
  static async open(state: StateDirectory): Promise<RungBook> {
    const held = await state.readFile(FILE);
    if (held === undefined) return new RungBook(state, []);
    const parsed: unknown = JSON.parse(held.toString());
    if (!Array.isArray(parsed)) throw new Error(`${FILE} in the state directory is no list: remove it to begin a new one`);
    return new RungBook(state, parsed as readonly RungEntry[]);
  }

  find(requestId: string): RungEntry | undefined {
    return this.#entries.find((entry) => entry.requestId === requestId);
  }

  /** In the place of what was written of that request before; durable when resolved. */
  async write(entry: RungEntry): Promise<void> {
    const others = this.#entries.filter(({ requestId }) => requestId !== entry.requestId);
    const entries = [...others, entry].slice(-MAX_ENTRIES);
    await this.#state.writeFile(FILE, Buffer.from(JSON.stringify(entries)));
    this.#entries = entries;
  }
}
