/** All scenarios of `npm run bench`. */
import { agentScenario } from "./agent.ts";
import { decideScenario } from "./decide.ts";
import { ansibleScenario } from "./ansible/index.ts";
import { heartbeatsScenario } from "./heartbeats.ts";
import { joinScenario } from "./join.ts";
import { overloadScenario } from "./overload.ts";
import { peersScenario } from "./peers/index.ts";
import { restartScenario } from "./restart.ts";
import { rolloutScenario } from "./rollout.ts";
import { preloadScenario } from "./preload.ts";
import { reportsScenario } from "./reports.ts";
import { socketsScenario } from "./sockets.ts";
import type { Scenario } from "./scenario.ts";
import { verdictsScenario } from "./verdicts/index.ts";
import { wireScenario } from "./wire.ts";

export const scenarios: readonly Scenario[] = [
  agentScenario,
  preloadScenario,
  joinScenario,
  ansibleScenario,
  decideScenario,
  heartbeatsScenario,
  reportsScenario,
  socketsScenario,
  peersScenario,
  wireScenario,
  verdictsScenario,
  rolloutScenario,
  restartScenario,
  overloadScenario,
];
