/** All end-to-end scenarios; .ci/run plays the short ones. */
import { containerdVersions } from "./containerd-versions.ts";
import { drainScenario } from "./drain/index.ts";
import { joinScenario } from "./join/index.ts";
import { repairScenario } from "./repair.ts";
import type { E2eScenario } from "./scenario.ts";
import { secondPathScenario } from "./second-path.ts";
import { vmScenario } from "./vm.ts";

export const scenarios: readonly E2eScenario[] = [
  containerdVersions,
  vmScenario,
  joinScenario,
  drainScenario,
  secondPathScenario,
  repairScenario,
];
