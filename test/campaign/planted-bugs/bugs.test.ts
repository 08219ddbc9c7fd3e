import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { plantedBugs, withBug } from "./bugs.ts";

const top = fileURLToPath(new URL("../../..", import.meta.url));

describe("bugs to plant", () => {
  it("are thirty, each of its own name", () => {
    expect(new Set(plantedBugs.map(({ name }) => name)).size).toBe(30);
  });

  it.each(plantedBugs.map((bug) => [bug.name, bug] as const))("has its place in the sources: %s", (_name, bug) => {
    const source = readFileSync(`${top}/${bug.file}`, "utf8");
    expect(withBug(source, bug)).not.toBe(source);
  });
});
