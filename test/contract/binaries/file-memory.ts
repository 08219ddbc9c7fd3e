/** A step's memory that outlives the process that has it. */
import { readFile, rename, writeFile } from "node:fs/promises";

export function fileMemory(path: string): { get(): Promise<unknown>; set(value: unknown): Promise<void> } {
  return {
    async get() {
      const text = await readFile(path, "utf8").catch(() => "");
      return text === "" ? undefined : (JSON.parse(text) as unknown);
    },
    async set(value) {
      await writeFile(`${path}.tmp`, JSON.stringify(value) ?? "");
      await rename(`${path}.tmp`, path);
    },
  };
}
