/**
 * What others would pay for the same: each agent seen once in ten seconds, CPU of the servers alone, one after the other in one run, of as many nodes.
 * Peers are set up at their cheapest: etcd and gRPC get all nodes over a few connections, as our logical tier does. A websocket server
 * has a connection per agent, that is its manner; against it our agents are counted a second time with a TLS connection each.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { cpuOf } from "../process-cost.ts";
import type { Figure, Scenario } from "../scenario.ts";
import { makeCertificate } from "./certificate.ts";
import { startEtcd } from "./etcd.ts";
import { ours } from "./ours.ts";
import { type PeerSettings, startPeer } from "./peer-process.ts";

const NODES = 10_000;
const MANY_NODES = 100_000;
/** With a connection of its own each; the server's and the clients' descriptors are limited to 20,000. */
const SOCKETS = 5_000;
const INTERVAL_MS = 10_000;
const WARM_UP_MS = 20_000;
/** As long as our heartbeat. */
const BEAT_BYTES = 18;
/** Share of the offered check-ins that whoever keeps up takes at least. */
const KEEPS_UP = 0.99;
const ETCD_PORT = 23_790;

/** What was paid for a window in which all check-ins were offered. */
export interface Paid {
  readonly name: string;
  readonly nodes: number;
  readonly cores: number;
  /** Share of the offered check-ins that were taken. */
  readonly achieved: number;
  readonly note: string;
}

export const peersScenario: Scenario = {
  name: "peers",
  summary: "servers' CPU per node at one check-in in 10 s: ours, a websocket server in Rancher's manner, etcd PUT, unary gRPC",
  async run({ agents: nodes = NODES, minutes, cases, say }) {
    const windowMs = minutes * 3_000;
    const directory = await mkdtemp(join("/var/tmp", "drover-peers-"));
    try {
      const tls = await makeCertificate(directory);
      const common = { agents: nodes, intervalMs: INTERVAL_MS, bytes: BEAT_BYTES, port: 0, directory };
      const all: Paid[] = [];
      const note = (paid: Paid): void => {
        all.push(paid);
        const taken = `${(100 * paid.achieved).toFixed(1)} % of the check-ins`;
        say(
          `${paid.name}: ${paid.cores.toFixed(3)} cores for ${paid.nodes} nodes, ${microseconds(paid).toFixed(1)} us each, ${taken} ${paid.note}`,
        );
      };
      const trials: Readonly<Record<string, (name: string) => Promise<Paid>>> = {
        drover: (name) => ours(name, { nodes, windowMs }),
        drover_beats: (name) => ours(name, { nodes, windowMs, isBeatsOnly: true }),
        websocket_300: (name) => websocket(name, { ...common, bytes: 300 }, windowMs),
        websocket_2000: (name) => websocket(name, { ...common, bytes: 2_000 }, windowMs),
        websocket_15000: (name) => websocket(name, { ...common, bytes: 15_000 }, windowMs),
        etcd: (name) => etcd(name, { ...common, port: ETCD_PORT }, windowMs),
        grpc: (name) => grpc(name, { ...common, tls }, windowMs),
        drover_many: (name) => ours(name, { nodes: MANY_NODES, windowMs }),
        etcd_many: (name) => etcd(name, { ...common, agents: MANY_NODES, port: ETCD_PORT }, windowMs),
        drover_sockets: (name) => ours(name, { nodes: SOCKETS, windowMs, tier: "socket" }),
        websocket_tls_15000: (name) => websocket(name, { ...common, agents: SOCKETS, bytes: 15_000, tls }, windowMs),
      };
      const unknown = (cases ?? []).filter((name) => !(name in trials));
      if (unknown.length > 0) throw new Error(`no such case: ${unknown.join(", ")}; there are ${Object.keys(trials).join(", ")}`);
      for (const [name, trial] of Object.entries(trials)) if (cases?.includes(name) ?? true) note(await trial(name));
      const paidBy = (name: string): Paid | undefined => all.find((paid) => paid.name === name);
      const figures: Figure[] = all.flatMap((paid) => [
        { name: `${paid.name}_us`, value: microseconds(paid), unit: "us per node and interval" },
        ...(paid.achieved < KEEPS_UP ? [achievedBy(paid)] : []),
      ]);
      const ratio = (name: string, peer: string, to: string, limit?: number): Figure[] => {
        const [theirs, our] = [paidBy(peer), paidBy(to)];
        if (theirs === undefined || our === undefined) return [];
        const value = microseconds(theirs) / microseconds(our);
        // Who does not keep up has failed already.
        const isLimited = limit !== undefined && theirs.achieved >= KEEPS_UP;
        return [{ name, value, unit: "times ours", peer, ratio: value, ...(isLimited ? { limit, isFloor: true } : {}) }];
      };
      figures.push(
        // Each of two fleets of the same size. What we pay once for a whole fleet weighs more in a small one.
        ...ratio("etcd_ratio", "etcd_many", "drover_many", 7),
        ...ratio("websocket_ratio", "websocket_15000", "drover", 10),
        ...ratio("websocket_2000_ratio", "websocket_2000", "drover"),
        ...ratio("websocket_300_ratio", "websocket_300", "drover"),
        ...ratio("etcd_few_ratio", "etcd", "drover"),
        ...ratio("grpc_ratio", "grpc", "drover"),
        ...ratio("websocket_sockets_ratio", "websocket_tls_15000", "drover_sockets"),
      );
      return {
        scenario: "peers",
        tier: `logical agents over few connections (ours, etcd, gRPC); a connection each (websocket); _sockets and _tls: ${SOCKETS} real TLS connections each`,
        conditions: {
          nodes,
          many: MANY_NODES,
          intervalSeconds: INTERVAL_MS / 1_000,
          windowSeconds: windowMs / 1_000,
          etcd: "3.4, one member, plain",
          websocket: "ws 8",
        },
        figures,
      };
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

/** A ratio to ours says nothing where we did not keep up. */
function achievedBy({ name, achieved }: Paid): Figure {
  const figure = { name: `${name}_achieved`, value: achieved, unit: "of the offered rate" };
  return name.startsWith("drover") ? { ...figure, limit: KEEPS_UP, isFloor: true } : figure;
}

/** Of a check-in that was taken: what was refused or left out for want of time has not been paid for. */
function microseconds({ cores, nodes, achieved }: Paid): number {
  return (cores * INTERVAL_MS * 1_000) / (nodes * achieved);
}

async function websocket(name: string, settings: PeerSettings, windowMs: number): Promise<Paid> {
  await using server = await startPeer(new URL("./websocket-server-main.ts", import.meta.url), settings);
  await using _agents = await startPeer(new URL("./websocket-agents-main.ts", import.meta.url), { ...settings, port: server.port });
  const { cores, done } = await window(server.pid, async () => (await server.counts()).done, windowMs);
  const { unhealthy } = await server.counts();
  return {
    name,
    nodes: settings.agents,
    cores,
    achieved: shareOf(done, settings, windowMs),
    note: unhealthy === 0 ? "" : `, ${unhealthy} taken for dead`,
  };
}

async function etcd(name: string, settings: PeerSettings, windowMs: number): Promise<Paid> {
  const directory = await mkdtemp(join(settings.directory, "etcd-"));
  await using server = await startEtcd(directory, settings.port);
  await using _agents = await startPeer(new URL("./etcd-agents-main.ts", import.meta.url), settings);
  const { cores, done } = await window(server.pid, () => server.puts(), windowMs);
  return { name, nodes: settings.agents, cores, achieved: shareOf(done, settings, windowMs), note: "" };
}

async function grpc(name: string, settings: PeerSettings, windowMs: number): Promise<Paid> {
  await using server = await startPeer(new URL("./grpc-server-main.ts", import.meta.url), settings);
  await using _agents = await startPeer(new URL("./grpc-agents-main.ts", import.meta.url), { ...settings, port: server.port });
  const { cores, done } = await window(server.pid, async () => (await server.counts()).done, windowMs);
  return { name, nodes: settings.agents, cores, achieved: shareOf(done, settings, windowMs), note: "" };
}

async function window(pid: number, taken: () => Promise<number>, ms: number): Promise<{ readonly cores: number; readonly done: number }> {
  await pause(WARM_UP_MS);
  const [doneBefore, cpuBefore, startedAtMs] = [await taken(), cpuOf(pid).ownMs, performance.now()];
  await pause(ms);
  const [cpuAfter, doneAfter] = [cpuOf(pid).ownMs, await taken()];
  return { cores: (cpuAfter - cpuBefore) / (performance.now() - startedAtMs), done: doneAfter - doneBefore };
}

function shareOf(done: number, { agents, intervalMs }: PeerSettings, windowMs: number): number {
  return Math.min(1, (done * intervalMs) / (agents * windowMs));
}
