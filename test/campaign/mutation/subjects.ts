/** Where faults are planted, and which tests must find them. */
import { readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";

export interface Subject {
  /** Relative to the top of the workshop, as in the checkout. */
  readonly file: string;
  /** Filters of test files, the quick ones first; those of a later stage run when all of the earlier have passed. */
  readonly tests: readonly (readonly string[])[];
}

const ROLLOUT = "coordinator/src/rollout";
const FLEET = "coordinator/src/fleet";
const ROLLOUT_TESTS = [
  ["decide", "blocks", "budget", "approval", "failures", "judgement", "roll-call", "standing", "waves"].map((part) => `${ROLLOUT}/${part}`),
  [`${ROLLOUT}/proof/`, `${ROLLOUT}/rehearsal/`],
];
const FLEET_TESTS = [[`${FLEET}/health`, `${FLEET}/cells`]];

/** decide() with every part of it, and what says who is healthy. */
export async function subjects(top: string): Promise<readonly Subject[]> {
  const parts = await partsOf(top, `${ROLLOUT}/decide.ts`);
  return [
    ...parts.map((file) => ({ file, tests: ROLLOUT_TESTS })),
    { file: `${FLEET}/health.ts`, tests: FLEET_TESTS },
    { file: `${FLEET}/cells.ts`, tests: FLEET_TESTS },
  ];
}

/** The file and what it imports of its own folder, but types. */
async function partsOf(top: string, first: string): Promise<readonly string[]> {
  const found = new Set<string>();
  const rest = [first];
  for (let file = rest.pop(); file !== undefined; file = rest.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    const source = await readFile(join(top, file), "utf8");
    for (const [, what, from] of source.matchAll(/^import (type )?[^;]*? from "(\.\/[^"]+)";/gms)) {
      if (what === undefined) rest.push(relative(top, join(top, dirname(file), from!)));
    }
  }
  return [...found].sort();
}
