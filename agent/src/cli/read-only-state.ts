/** The state directory as somebody sees it who must not change it: reads come from disk, writes stay in memory. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DurableLog, StateDirectory } from "../ports.ts";
import { MemoryStateDirectory } from "../state/index.ts";

export class ReadOnlyState implements StateDirectory {
  readonly #path: string;
  readonly #written = new MemoryStateDirectory();
  readonly #removed = new Set<string>();

  constructor(path: string) {
    this.#path = path;
  }

  async readFile(name: string): Promise<Buffer | undefined> {
    const written = await this.#written.readFile(name);
    if (written !== undefined || this.#removed.has(name)) return written;
    try {
      return await readFile(join(this.#path, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async writeFile(name: string, content: Uint8Array): Promise<void> {
    await this.#written.writeFile(name, content);
  }

  async removeFile(name: string): Promise<void> {
    this.#removed.add(name);
    await this.#written.removeFile(name);
  }

  /** Always a new one: opening the real one may cut its torn tail. */
  openLog(name: string): Promise<DurableLog> {
    return this.#written.openLog(name);
  }

  async removeLog(name: string): Promise<void> {
    await this.#written.removeLog(name);
  }
}
