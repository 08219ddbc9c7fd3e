/** All campaigns; .ci/run does each at a tenth of its count. */
import { simulationCampaign } from "../simulation/campaign.ts";
import type { Campaign } from "./campaign.ts";

export const campaigns: readonly Campaign[] = [simulationCampaign];
