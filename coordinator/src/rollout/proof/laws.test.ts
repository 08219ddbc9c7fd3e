import fc from "fast-check";
import { describe, it } from "vitest";
import { propertyOf } from "./law.ts";
import { laws } from "./laws.ts";

/** The whole count is the campaign's. */
const RUNS = Number(process.env["DROVER_PROPERTY_RUNS"] ?? 300);

describe("decide(), in every situation,", () => {
  it.each(laws.map((law) => [law.name, law] as const))("%s", (_name, law) => {
    fc.assert(propertyOf(law), { numRuns: RUNS });
  });
});
