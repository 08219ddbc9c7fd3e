import { systemClock } from "@drover/lifecycle";
import { busConformance } from "./bus-conformance.ts";
import { memoryBus } from "./memory-bus.ts";

busConformance("the bus in memory", async () => {
  const bus = memoryBus(systemClock);
  return {
    bus,
    agentPort: (nodeId) => bus.agentPort(nodeId),
    publicKeyOf: (nodeId) => nodeId,
    async loseAll() {
      bus.setUp(false);
      bus.loseAll();
      bus.setUp(true);
    },
    async close() {},
  };
});
