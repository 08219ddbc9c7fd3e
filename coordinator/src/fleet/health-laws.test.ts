import fc from "fast-check";
import { describe, it } from "vitest";
import { healthLaws } from "./health-laws.ts";

/** The whole count is the campaign's. */
const RUNS = Number(process.env["DROVER_PROPERTY_RUNS"] ?? 300);

describe("health, whatever is seen:", () => {
  it.each(healthLaws.map((law) => [law.name, law] as const))("%s", (_name, { property }) => {
    fc.assert(property as fc.IProperty<unknown>, { numRuns: RUNS });
  });
});
