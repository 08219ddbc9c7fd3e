/** Every law of decide(), of verdicts and of cells, on as many situations as were asked for: each draws its own from the seed. */
import fc from "fast-check";
import { healthLaws } from "../../../coordinator/src/fleet/health-laws.ts";
import { propertyOf } from "../../../coordinator/src/rollout/proof/law.ts";
import { laws } from "../../../coordinator/src/rollout/proof/laws.ts";
import type { Campaign } from "../campaign.ts";

interface Proposition {
  readonly name: string;
  readonly property: fc.IProperty<unknown>;
}

const propositions: readonly Proposition[] = [
  ...laws.map((law) => ({ name: law.name, property: propertyOf(law) as fc.IProperty<unknown> })),
  ...healthLaws.map(({ name, property }) => ({ name, property: property as fc.IProperty<unknown> })),
];

export const decidePropertiesCampaign: Campaign = {
  name: "decide-properties",
  summary: `${propositions.length} laws of decide(), health and cells, each in so many situations drawn from the seed: none is broken`,
  fullCount: 10_000,
  run({ count, seed, say }) {
    let broken = 0;
    for (const { name, property } of propositions) {
      const details = fc.check(property, { numRuns: count, seed: seed | 0 });
      if (!details.failed) continue;
      broken += 1;
      say(`broken: ${name}\n${fc.defaultReportMessage(details) ?? ""}`);
    }
    // A run is one situation for each law; a law that is broken costs one.
    const failed = Math.min(count, broken);
    return Promise.resolve({ passed: count - failed, failed });
  },
};
