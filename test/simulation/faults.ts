/** Which fault strikes when and whom, from the seed; and how each is done to the world and undone. */
import type { Random } from "@drover/lifecycle";
import type { FaultKind, Scenario } from "./scenario.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { World } from "./world.ts";

export interface PlannedFault {
  readonly atMs: number;
  readonly kind: FaultKind;
}

/** Each kind comes at its own rate, with exponential pauses. */
export function planFaults({ faultsPerHour, faultsUntilMinute }: Scenario, random: Random): readonly PlannedFault[] {
  const planned: PlannedFault[] = [];
  for (const [kind, perHour] of Object.entries(faultsPerHour) as [FaultKind, number][]) {
    const meanMs = 3_600_000 / perHour;
    for (let atMs = pause(random, meanMs); atMs < faultsUntilMinute * 60_000; atMs += pause(random, meanMs)) planned.push({ atMs, kind });
  }
  return planned.toSorted((a, b) => a.atMs - b.atMs);
}

function pause(random: Random, meanMs: number): number {
  return -Math.log(1 - random.unit()) * meanMs;
}

export function strike(kind: FaultKind, world: World, random: Random): void {
  const { bus, clock, coordinator, network, nodes, transcript } = world;
  const between = (low: number, high: number): number => low + random.unit() * (high - low);
  const anyOf = <T>(candidates: readonly T[]): T | undefined => candidates[Math.floor(random.unit() * candidates.length)];
  const inPlan = (): readonly SimulatedNode[] => nodes.filter(({ agent }) => agent?.status()?.isApplying === true);
  const anyNode = (): SimulatedNode => anyOf(nodes)!;
  const say = (event: string): void => transcript.say("fault", event);
  const kill = (node: SimulatedNode): void => {
    node.kill();
    clock.setTimer(between(500, 30_000), () => node.start());
  };
  switch (kind) {
    case "agentKilled":
      return kill(anyNode());
    case "agentKilledInPlan": {
      const node = anyOf(inPlan());
      if (node !== undefined) clock.setTimer(between(0, 300), () => kill(node));
      return;
    }
    case "planReplayed":
      return network.replayPlan(anyNode().nodeId, random.unit());
    case "machineRebootedInPlan":
    case "machineRebooted": {
      const node = kind === "machineRebooted" ? anyNode() : anyOf(inPlan());
      if (node === undefined) return;
      // Its power goes: nobody resets its connections.
      network.cut(node.nodeId, true);
      node.reboot();
      clock.setTimer(between(20_000, 90_000), () => node.start());
      return;
    }
    case "coordinatorKilled":
      coordinator.kill();
      clock.setTimer(between(1_000, 40_000), () => coordinator.start());
      return;
    case "busNoisy": {
      const slowMs = between(5, 800);
      Object.assign(bus.faults, {
        dropShare: between(0, 0.3),
        duplicateShare: between(0, 0.2),
        delayMs: () => 1 + slowMs * random.unit(),
      });
      say("the bus loses, doubles and delays messages");
      clock.setTimer(between(10_000, 90_000), () => world.calmBus());
      return;
    }
    case "busDown":
      say("the bus is away");
      bus.setUp(false);
      clock.setTimer(between(2_000, 90_000), () => bus.setUp(true));
      return;
    case "busLost":
      say("the bus loses all that it kept");
      bus.loseAll();
      return;
    case "sessionCut": {
      const nodeId = anyOf(network.connected);
      if (nodeId !== undefined) network.cut(nodeId, random.unit() < 0.5);
      return;
    }
    case "nodeCutOffInPlan":
    case "nodeCutOff": {
      const node = kind === "nodeCutOff" ? anyNode() : anyOf(inPlan());
      if (node === undefined) return;
      say(`${node.nodeId} is cut off`);
      world.cutOff(node, true);
      const awayMs = kind === "nodeCutOff" ? between(1_000, 180_000) : between(30_000, 240_000);
      clock.setTimer(awayMs, () => world.cutOff(node, false));
      return;
    }
    case "zoneSilent":
      return silenceZone(world, random, between(120_000, 360_000));
    case "driftAboveLive": {
      // Each once: drift that returns within an hour is left to people.
      const node = anyOf(nodes.filter((each) => !each.hasDriftedAboveLive));
      if (node?.driftAboveLive() === true) say(`${node.nodeId} its containerd is configured otherwise`);
      return;
    }
    case "runtimeSick": {
      const node = anyNode();
      node.setSick(true);
      return say(`${node.nodeId} its runtime no longer answers`);
    }
    case "repairAsked":
      return void world.askForRepair(anyNode(), random.unit() < 0.5 ? "RestartUnits" : "Reapply");
    case "drift": {
      const node = anyNode();
      say(`${node.nodeId} ${node.drift(random)}`);
      return;
    }
    case "clockJump": {
      const node = anyNode();
      const ms = Math.floor(between(-3_600_000, 3_600_000));
      say(`${node.nodeId} its clock jumps by ${ms} ms`);
      node.jump(ms);
      clock.setTimer(between(10_000, 300_000), () => node.jump(-ms));
      return;
    }
  }
}

function silenceZone(world: World, random: Random, durationMs: number): void {
  const calm = world.zones.filter((zone) => !world.silentZones.has(zone));
  const zone = calm[Math.floor(random.unit() * calm.length)];
  if (zone === undefined) return;
  world.silence(zone, true);
  world.clock.setTimer(durationMs, () => world.silence(zone, false));
}

/** Everything that was taken away is there again; what time undoes is left to time. */
export function heal(world: World, { isDriftPutBack = false }: Pick<Scenario, "isDriftPutBack">): void {
  const { bus, coordinator, nodes } = world;
  for (const zone of world.silentZones) world.silence(zone, false);
  world.calmBus();
  bus.setUp(true);
  coordinator.start();
  for (const node of nodes) {
    world.cutOff(node, false);
    node.setSick(false);
    if (isDriftPutBack) node.putDriftBack();
    node.start();
  }
}
