/** The logical tier: all agents in this process, on few connections. */
import { dataFiles, openNatsTrust } from "@drover/coordinator/real";
import type { CoordinatorProcess } from "../coordinator/coordinator-process.ts";
import type { FleetControl } from "../fleet-control.ts";
import { AgentFleet, type FleetOptions } from "./agent-fleet.ts";
import { nodeIdOf } from "./agent-identity.ts";
import { LogicalBus } from "./logical-bus.ts";
import { LogicalSessions } from "./logical-sessions.ts";
import { steer } from "./steer.ts";

const CONNECTIONS = 8;

export async function openLogicalFleet(options: FleetOptions, coordinator: CoordinatorProcess): Promise<FleetControl> {
  const { nats } = coordinator.serving;
  const nodeIds = Array.from({ length: options.agents }, (_, index) => nodeIdOf(options.seed, index));
  const sessions = new LogicalSessions(coordinator.doorPath, (agent) => fleet.columns.nodeIds[agent]!);
  const each = (connection: number, change: (agent: number) => void): void => {
    for (let agent = 0; agent < fleet.columns.nodeIds.length; agent += 1) if (bus.connectionOf(agent) === connection) change(agent);
  };
  const bus = await LogicalBus.open(nodeIds, {
    url: nats.url,
    caPem: nats.caPem,
    user: openNatsTrust(dataFiles(coordinator.dataDir).natsTrust).coordinatorUser(),
    connections: CONNECTIONS,
    onToNode: (nodeId, message) => fleet.toNode(nodeId, message),
    onBudget: (shard, budget) => fleet.budget(shard, budget),
    onConnected: (connection) => each(connection, (agent) => fleet.connected(agent)),
    onDisconnected: (connection) => each(connection, (agent) => fleet.disconnected(agent)),
  });
  const fleet = new AgentFleet(options, bus, sessions);
  fleet.start();
  for (let agent = 0; agent < options.agents; agent += 1) fleet.connected(agent);
  return {
    counts: fleet.counts,
    get heartbeatIntervalMs() {
      return fleet.heartbeatIntervalMs;
    },
    get isSettled() {
      return fleet.unheardCount === 0;
    },
    takeWorstLateMs: () => fleet.takeWorstLateMs(),
    apply: (fault) => steer(fleet, 0, fault, (clone, original) => bus.addClone(clone, original)),
    setChangesPerMinute: (share) => fleet.setChangesPerMinute(share),
    ledger: async () => [...fleet.outboxes.ledger()],
    pids: [process.pid],
    async close() {
      fleet.stop();
      sessions.close();
      await bus.close();
    },
  };
}
