import { rmSync } from "node:fs";
import { join } from "node:path";
import { busConformance } from "./bus-conformance.ts";
import { openNatsTestbed } from "./nats-testbed.ts";

busConformance("NATS", async () => {
  const testbed = await openNatsTestbed();
  return {
    bus: testbed.bus(),
    agentPort: (nodeId) => testbed.agentPort(nodeId),
    publicKeyOf: (nodeId) => testbed.key(nodeId).publicKey,
    async loseAll() {
      await testbed.nats.stop();
      rmSync(join(testbed.dir, "nats"), { recursive: true, force: true });
      await testbed.nats.ensureRunning();
    },
    close: () => testbed.close(),
  };
});
