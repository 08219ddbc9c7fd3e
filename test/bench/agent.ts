/**
 * The agent as a single executable in a light machine: memory, time to ready, idle CPU, CPU of checking a plan in sync.
 * Private memory is Private_Dirty of smaps_rollup: what no other process could share. Private_Clean, pages of the
 * executable's file that only one process has mapped just now, is among the conditions; resident holds both. What runs
 * is a copy, as installed: of a file that was just linked the page cache holds larger pieces, and a touched page maps
 * all of its piece (18 MB more of clean pages, the same private memory).
 */
import { setTimeout as pause } from "node:timers/promises";
import { execa } from "execa";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { Site } from "../testbed/site.ts";
import { cpuOf, median, memoryOf, startedAtMs } from "./process-cost.ts";
import type { Figure, Scenario } from "./scenario.ts";

const built = new URL("../../dist/drover-agent", import.meta.url).pathname;
const executable = `${built}.installed`;
/** By then what the start and the first plan left behind has been collected. */
const SETTLE_MS = 80_000;
const STARTS = 7;
const CHECKS = 10;

export const agentScenario: Scenario = {
  name: "agent",
  summary: "one agent (single executable): resident, private, ready, idle CPU, CPU of a plan in sync",
  async run({ minutes, say }) {
    say("building the single executable");
    await execa("npm", ["run", "--silent", "build:agent"], { stdio: "inherit" });
    await execa("cp", [built, executable]);
    const idle = await withConvergedMachine({ driftScan: "10m", poll: "10m" }, say, async (machine) => {
      const ready = await readyTimes(machine, say);
      const withScans = await idleCost(machine, minutes, say);
      return { ready, ...withScans };
    });
    const quiet = await withConvergedMachine({ driftScan: "24h", poll: "24h" }, say, (machine) => idleCost(machine, minutes / 2, say));
    const check = await withConvergedMachine({ driftScan: "3s", poll: "24h" }, say, (machine) =>
      checkCost(machine, quiet.ownPerSecond, say),
    );
    const figures: Figure[] = [
      { name: "agent_resident_mb", value: idle.residentBytes / 1e6, unit: "MB", limit: 70 },
      { name: "agent_private_mb", value: idle.privateBytes / 1e6, unit: "MB", limit: 20 },
      { name: "agent_ready_ms", value: median(idle.ready), unit: "ms", limit: 400 },
      { name: "agent_idle_cpu", value: idle.ownPerSecond + idle.childrenPerSecond, unit: "ms/s", limit: 0.5 },
      { name: "agent_quiet_cpu", value: quiet.ownPerSecond, unit: "ms/s", limit: 0.2 },
      { name: "agent_check_cpu", value: check, unit: "ms", limit: 150 },
    ];
    return {
      scenario: "agent",
      tier: "one real machine (namespaces), real containerd, real NATS and gRPC over TLS",
      conditions: { minutes, starts: STARTS, checks: CHECKS, privateCleanMb: (idle.privateCleanBytes / 1e6).toFixed(1) },
      figures,
    };
  },
};

async function withConvergedMachine<T>(
  intervals: { readonly driftScan: string; readonly poll: string },
  say: (line: string) => void,
  measure: (machine: LightMachine) => Promise<T>,
): Promise<T> {
  await using site = await Site.make({ intervals, agent: [executable] });
  await site.startRegistry();
  const images = await site.pushImages({ "registry.example/a/one:1": 200_000, "registry.example/a/two:1": 400_000 });
  const manifest = await site.manifest(
    "bench",
    { apiVersion: "drover.dev/v1alpha1", kind: "ImageLock", metadata: { name: "bench" }, spec: { images } },
    {
      apiVersion: "drover.dev/v1alpha1",
      kind: "NodeProfile",
      metadata: { name: "bench" },
      spec: {
        sysctl: { values: { "net.core.somaxconn": "4096", "net.ipv4.tcp_max_syn_backlog": "8192" } },
        containerd: {
          maxConcurrentDownloads: 4,
          registries: [{ host: "registry.example", mirrors: [{ url: `http://${site.registry}` }] }],
        },
        images: { lock: "bench" },
      },
    },
    {
      apiVersion: "drover.dev/v1alpha1",
      kind: "NodeSet",
      metadata: { name: "bench" },
      spec: { selector: { matchLabels: { bench: "yes" } }, profile: "bench" },
    },
  );
  const machine = await site.addMachine("bench-1", { bench: "yes" });
  await eventually("the machine is enrolled", 60_000, async () => (await site.drover(["get", "node", "bench-1"])).exitCode === 0);
  await site.mustDrover(["apply", "-f", manifest]);
  await site.mustDrover(["wait", "node/bench-1", "--for=phase=InSync", "--timeout", "2m"], { timeoutMs: 130_000 });
  say(`converged (drift scan each ${intervals.driftScan})`);
  return await measure(machine);
}

/** Milliseconds from exec to the log line that says that it has its identity, journal and outbox, and works, over several restarts. */
async function readyTimes(machine: LightMachine, say: (line: string) => void): Promise<number[]> {
  const times: number[] = [];
  for (let start = 0; start < STARTS; start += 1) {
    const before = await readyLines(machine);
    await machine.run("systemctl", ["restart", "drover-agent.service"]);
    const line = await eventually("the agent is ready", 20_000, async () => {
      const lines = await readyLines(machine);
      return lines.length > before.length && lines.at(-1);
    }).catch(async (error: unknown) => {
      throw new Error(`the agent's log:\n${await machine.serviceLog("drover-agent")}`, { cause: error });
    });
    const pid = await eventually("the agent runs", 5000, () => machine.servicePid("drover-agent"));
    times.push(Date.parse((JSON.parse(line.slice(line.indexOf("{"))) as { time: string }).time) - startedAtMs(pid));
  }
  say(`ready after ${times.map((time) => time.toFixed(0)).join(", ")} ms`);
  return times;
}

async function readyLines(machine: LightMachine): Promise<string[]> {
  return (await machine.serviceLog("drover-agent")).split("\n").filter((line) => line.includes('"msg":"agent started"'));
}

async function idleCost(machine: LightMachine, minutes: number, say: (line: string) => void) {
  const pid = await eventually("the agent runs", 5000, () => machine.servicePid("drover-agent"));
  await pause(SETTLE_MS);
  const before = cpuOf(pid);
  const startedAt = performance.now();
  say(`measuring ${minutes} min of idling`);
  await pause(minutes * 60_000);
  const seconds = (performance.now() - startedAt) / 1000;
  const after = cpuOf(pid);
  return {
    ...memoryOf(pid),
    ownPerSecond: (after.ownMs - before.ownMs) / seconds,
    childrenPerSecond: (after.childrenMs - before.childrenMs) / seconds,
  };
}

/** CPU milliseconds, children included, of one drift scan that finds nothing: what is above idling, per scan. */
async function checkCost(machine: LightMachine, idlePerSecond: number, say: (line: string) => void): Promise<number> {
  const pid = await eventually("the agent runs", 5000, () => machine.servicePid("drover-agent"));
  const scans = async (): Promise<number> =>
    (await machine.serviceLog("drover-agent")).split("\n").filter((line) => line.includes('"msg":"drift scan ended"')).length;
  const first = await scans();
  const before = cpuOf(pid);
  const startedAt = performance.now();
  const last = await eventually("enough drift scans", 120_000, async () => {
    const count = await scans();
    return count >= first + CHECKS && count;
  });
  const after = cpuOf(pid);
  const idleMs = (idlePerSecond * (performance.now() - startedAt)) / 1000;
  say(`${last - first} drift scans`);
  return (after.ownMs - before.ownMs + after.childrenMs - before.childrenMs - idleMs) / (last - first);
}
