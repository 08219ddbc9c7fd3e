/** All scenarios of `npm run bench`. */
import { agentScenario } from "./agent.ts";
import { decideScenario } from "./decide.ts";
import { ansibleScenario } from "./ansible/index.ts";
import { joinScenario } from "./join.ts";
import { preloadScenario } from "./preload.ts";
import type { Scenario } from "./scenario.ts";

export const scenarios: readonly Scenario[] = [agentScenario, preloadScenario, joinScenario, ansibleScenario, decideScenario];
