/** A process of the socket tier: some of the agents, each on connections of its own. Ends with the simulation, however that ends. */
import "reflect-metadata";
import { openAuthority } from "@drover/coordinator/real";
import { systemClock } from "@drover/lifecycle";
import { Plan } from "@drover/proto";
import { AgentFleet } from "../fleet/agent-fleet.ts";
import { steer } from "../fleet/steer.ts";
import { SocketBus } from "./socket-bus.ts";
import { SocketSessions } from "./socket-sessions.ts";
import type { FromWorker, ToWorker, WorkerArguments } from "./worker-messages.ts";

const STATUS_EVERY_MS = 250;

// Not in argv: it is longer than a line of one should be.
process.once("message", (given: WorkerArguments) => void run(given));
process.once("disconnect", () => process.exit(0));
process.on("SIGINT", () => undefined);

async function run({
  fleet: options,
  foundPlan,
  natsUrl,
  natsCaPem,
  natsTrustDir,
  authorityDir,
  sessionEndpoint,
}: WorkerArguments): Promise<void> {
  const tell = (message: FromWorker): void => void process.send?.(message);
  const authority = await openAuthority(authorityDir, systemClock);
  const sessions = new SocketSessions({ authority, endpoint: sessionEndpoint, nodeIdOf: (agent) => fleet.columns.nodeIds[agent]! });
  const plan = foundPlan === undefined ? undefined : Plan.decode(Buffer.from(foundPlan, "base64"));
  const fleet: AgentFleet = new AgentFleet(
    { ...options, foundPlan: plan },
    {
      publishHeartbeat: (agent, payload) => bus.publishHeartbeat(agent, payload),
      publishReport: (agent, payload) => bus.publishReport(agent, payload),
    },
    sessions,
  );
  const bus = new SocketBus({
    seed: options.seed,
    first: options.first,
    nodeIds: fleet.columns.nodeIds,
    url: natsUrl,
    caPem: natsCaPem,
    natsTrustDir,
    onToNode: (nodeId, message) => fleet.toNode(nodeId, message),
    onBudget: (shard, budget) => fleet.budget(shard, budget),
    onConnected: (agent) => fleet.connected(agent),
    onDisconnected: (agent) => fleet.disconnected(agent),
  });
  process.on("message", (message: ToWorker) => {
    if (message.type === "fault") steer(fleet, options.first, message.fault, (clone, original) => bus.addClone(clone, original));
    else if (message.type === "changes") fleet.setChangesPerMinute(message.share);
    else tell({ type: "ledger", entries: [...fleet.outboxes.ledger()] });
  });
  let isEnrolled = false;
  fleet.start();
  bus.connectAll();
  void sessions.enrolAll(options.agents).then(() => (isEnrolled = true));
  const status = (): void =>
    tell({
      type: "status",
      status: {
        counts: fleet.counts,
        unheard: Math.max(fleet.unheardCount, isEnrolled ? 0 : 1),
        heartbeatIntervalMs: fleet.heartbeatIntervalMs,
        worstLateMs: fleet.takeWorstLateMs(),
      },
    });
  setInterval(status, STATUS_EVERY_MS);
}
