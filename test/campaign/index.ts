/** All campaigns; .ci/run does each at a tenth of its count. */
import { simulationCampaign } from "../simulation/campaign.ts";
import { agentKillCampaign } from "./agent-kill/index.ts";
import type { Campaign } from "./campaign.ts";
import { coordinatorKill } from "./coordinator-kill.ts";
import { joinToken } from "./join-token.ts";

export const campaigns: readonly Campaign[] = [simulationCampaign, coordinatorKill, joinToken, agentKillCampaign];
