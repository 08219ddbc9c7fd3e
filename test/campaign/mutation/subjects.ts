/** Where faults are planted, and which tests must find them. */
import { readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { checkout } from "./workshop.ts";

export interface Subject {
  /** Relative to the checkout. */
  readonly file: string;
  readonly tests: readonly string[];
}

const ROLLOUT = "coordinator/src/rollout";
const FLEET = "coordinator/src/fleet";
const ROLLOUT_TESTS = [`${ROLLOUT}/decide`, `${ROLLOUT}/budget`, `${ROLLOUT}/proof/`, `${ROLLOUT}/rehearsal/`];
const FLEET_TESTS = [`${FLEET}/health`, `${FLEET}/cells`];

/** decide() with every part of it, and what says who is healthy. */
export async function subjects(): Promise<readonly Subject[]> {
  const parts = await partsOf(`${ROLLOUT}/decide.ts`);
  return [
    ...parts.map((file) => ({ file, tests: ROLLOUT_TESTS })),
    { file: `${FLEET}/health.ts`, tests: FLEET_TESTS },
    { file: `${FLEET}/cells.ts`, tests: FLEET_TESTS },
  ];
}

/** The file and what it imports of its own folder, but types. */
async function partsOf(first: string): Promise<readonly string[]> {
  const found = new Set<string>();
  const rest = [first];
  for (let file = rest.pop(); file !== undefined; file = rest.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    const source = await readFile(join(checkout, file), "utf8");
    for (const [, what, from] of source.matchAll(/^import (type )?[^;]*? from "(\.\/[^"]+)";/gms)) {
      if (what === undefined) rest.push(relative(checkout, join(checkout, dirname(file), from!)));
    }
  }
  return [...found].sort();
}
