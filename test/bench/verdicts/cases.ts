/** Ways to make the observer see badly, one after the other: none of them may end in a living node being called dead. */
import { globSync } from "node:fs";
import { mkdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Sim } from "@drover/sim";
import { floodFleet } from "./flood.ts";

const HOUR_S = 3_600;
/** Of the length that the figures are defined for. */
const BLOCK_SHARE = 60 / 300;
const RESTARTS = 10;
const RESTART_EVERY_SHARE = 20 / 300;
const QUOTA_US = 5_000;
const PERIOD_US = 100_000;
const CUT_ZONE = 0;
const CUT_SHARE = 0.7;

export interface FaultCase {
  readonly name: string;
  readonly summary: string;
  readonly nodeArguments?: readonly string[];
  readonly environment?: (directory: string) => Readonly<Record<string, string>>;
  /** What must be there before the coordinator starts. */
  readonly prepare?: (directory: string) => Promise<void>;
  /** Living agents that are kept from being heard, by index. */
  readonly cut?: (sim: Sim, agents: number, zones: number) => readonly number[];
  /** Makes the fault, waits, and undoes it. @param ms how long, 300,000 in full */
  readonly make: (sim: Sim, ms: number) => Promise<void>;
}

const blockLoop = fileURLToPath(new URL("./block-loop-on-signal.ts", import.meta.url));
/** Where Debian puts it. */
const faketime = (): string => {
  const [library] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");
  if (library === undefined) throw new Error("libfaketime is not there; next: test/support/set-up.sh bench");
  return library;
};
const clockFile = (directory: string): string => join(directory, "clock");

/** libfaketime moves the wall clock alone, from the file's next reading on. */
function movedClock(name: string, seconds: number): FaultCase {
  return {
    name,
    summary: `the coordinator's clock ${seconds > 0 ? "an hour ahead" : "an hour back"}, and back again`,
    environment: (directory) => ({
      LD_PRELOAD: faketime(),
      FAKETIME_TIMESTAMP_FILE: clockFile(directory),
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    }),
    prepare: (directory) => writeFile(clockFile(directory), "+0\n"),
    async make(sim, ms) {
      await writeFile(clockFile(sim.directory), `${seconds > 0 ? "+" : ""}${seconds}\n`);
      await pause(ms);
      await writeFile(clockFile(sim.directory), "+0\n");
    },
  };
}

function stopped(name: string, target: "coordinator" | "nats"): FaultCase {
  return {
    name,
    summary: `SIGSTOP of ${target} for 5 min`,
    async make(sim, ms) {
      sim.signal(target, "SIGSTOP");
      await pause(ms);
      sim.signal(target, "SIGCONT");
    },
  };
}

export const faultCases: readonly FaultCase[] = [
  { name: "quiet", summary: "no fault: what dies is found", make: (_sim, ms) => pause(ms / 10) },
  stopped("coordinator_stopped", "coordinator"),
  stopped("nats_stopped", "nats"),
  {
    name: "coordinator_starved",
    summary: "the coordinator has 5 % of a CPU for 5 min",
    async make(sim, ms) {
      const group = `/sys/fs/cgroup/cpu/drover-bench-${process.pid}`;
      await mkdir(group);
      try {
        await writeFile(join(group, "cpu.cfs_period_us"), String(PERIOD_US));
        await writeFile(join(group, "cpu.cfs_quota_us"), String(QUOTA_US));
        await writeFile(join(group, "cgroup.procs"), String(sim.coordinatorPid));
        await pause(ms);
      } finally {
        await writeFile("/sys/fs/cgroup/cpu/cgroup.procs", String(sim.coordinatorPid));
        await rmdir(group);
      }
    },
  },
  {
    name: "loop_blocked",
    summary: "the coordinator's event loop blocked for 60 s",
    nodeArguments: ["--import", blockLoop],
    environment: () => ({ DROVER_BENCH_BLOCK_MS: String(BLOCK_SHARE * 300_000) }),
    async make(sim, ms) {
      sim.signal("coordinator", "SIGUSR2");
      await pause(Math.max(ms, BLOCK_SHARE * 300_000));
    },
  },
  { name: "flood", summary: "every agent beats three times as often, and tells a delta each interval, for 5 min", make: floodFleet },
  movedClock("coordinator_clock_ahead", HOUR_S),
  movedClock("coordinator_clock_back", -HOUR_S),
  {
    name: "restarts",
    summary: "the coordinator killed and started each 20 s, ten times",
    async make(sim, ms) {
      for (let restart = 0; restart < RESTARTS; restart += 1) {
        await sim.endCoordinator("SIGKILL");
        await sim.startCoordinator();
        await pause(ms * RESTART_EVERY_SHARE);
      }
    },
  },
  {
    name: "cell_cut",
    summary: "70 % of a zone cut off for 5 min",
    cut: (_sim, agents, zones) => {
      const members = Array.from({ length: Math.ceil(agents / zones) }, (_, at) => CUT_ZONE + at * zones).filter((index) => index < agents);
      return members.slice(0, Math.floor(members.length * CUT_SHARE));
    },
    make: (_sim, ms) => pause(ms),
  },
];
