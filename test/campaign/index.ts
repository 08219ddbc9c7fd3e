/** All campaigns; .ci/run does each at a tenth of its count. */
import { simulationCampaign } from "../simulation/campaign.ts";
import { agentKillCampaign } from "./agent-kill/index.ts";
import type { Campaign } from "./campaign.ts";
import { confirmCampaign } from "./confirm/index.ts";
import { confirmVmCampaign } from "./confirm/vm.ts";
import { coordinatorKill } from "./coordinator-kill.ts";
import { decidePropertiesCampaign } from "./decide-properties/index.ts";
import { joinKillCampaign } from "./join-kill/index.ts";
import { joinToken } from "./join-token.ts";
import { mutationCampaign } from "./mutation/index.ts";
import { plantedBugsCampaign } from "./planted-bugs/index.ts";
import { randomFleetsCampaign } from "./random-fleets/index.ts";
import { vmPowerCutCampaign } from "./vm-power-cut/index.ts";

export const campaigns: readonly Campaign[] = [
  simulationCampaign,
  plantedBugsCampaign,
  decidePropertiesCampaign,
  randomFleetsCampaign,
  mutationCampaign,
  coordinatorKill,
  joinToken,
  agentKillCampaign,
  confirmCampaign,
  confirmVmCampaign,
  joinKillCampaign,
  vmPowerCutCampaign,
];
