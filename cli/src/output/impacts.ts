/** Impacts as words. */
import { Impact } from "@drover/proto";

const words: Readonly<Record<number, string>> = {
  [Impact.IMPACT_UNSPECIFIED]: "none",
  [Impact.IMPACT_LIVE]: "live",
  [Impact.IMPACT_RESTART]: "restart",
  [Impact.IMPACT_DRAIN]: "drain",
  [Impact.IMPACT_REBOOT]: "reboot",
};

/** What is not known counts as the worst. */
export function impactWord(impact: Impact): string {
  return words[impact] ?? "reboot";
}
