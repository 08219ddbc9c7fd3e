/** All scenarios of `npm run bench`. */
import { agentScenario } from "./agent.ts";
import type { Scenario } from "./scenario.ts";

export const scenarios: readonly Scenario[] = [agentScenario];
