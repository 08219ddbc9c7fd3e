/** Ways to make the observer see badly, one after the other: none of them may end in a living node being called dead. */
import { globSync } from "node:fs";
import { mkdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Sim } from "@drover/sim";
import { floodFleet } from "./flood.ts";
import { startNatsInVm } from "./nats-in-vm.ts";

const HOUR_S = 3_600;
const BLOCK_MS = 60_000;
const RESTARTS = 10;
/** Of the length of a fault. */
const RESTART_EVERY_SHARE = 20 / 300;
const QUOTA_US = 5_000;
const PERIOD_US = 100_000;
export const CUT_ZONE = 0;
const CUT_SHARE = 0.7;
/** qemu's emulation takes what a real NATS takes from twenty times as many. */
const MOST_ON_EMULATED_NATS = 5_000;

export interface FaultCase {
  readonly name: string;
  readonly summary: string;
  /** Whether knocks at the silent are asked for, and remain without answer; default true. */
  readonly hasSecondPath?: boolean;
  /** What holds the case can take no more; default: as many as asked for. */
  readonly mostAgents?: number;
  /** Living agents that are kept from being heard, by index. */
  readonly cut?: (agents: number, zones: number) => readonly number[];
  /** What must be there before the coordinator starts. @param ms how long the fault lasts, 300,000 in full */
  readonly stage: (directory: string, ms: number) => Promise<Stage> | Stage;
}

export interface Stage {
  readonly nodeArguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** More of coordinator.yaml. */
  readonly coordinatorConfig?: Readonly<Record<string, unknown>>;
  /** Makes the fault, waits, and undoes it. */
  readonly make: (sim: Sim) => Promise<void>;
  /** When the coordinator has ended. */
  readonly end?: () => Promise<void>;
}

const blockLoop = fileURLToPath(new URL("./block-loop-on-signal.ts", import.meta.url));
/** Where Debian puts it. */
const faketime = (): string => {
  const [library] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");
  if (library === undefined) throw new Error("libfaketime is not there; next: test/support/set-up.sh bench");
  return library;
};

/** libfaketime moves the wall clock alone, from the file's next reading on. */
function coordinatorClock(name: string, seconds: number): FaultCase {
  return {
    name,
    summary: `the coordinator's clock ${seconds > 0 ? "an hour ahead" : "an hour back"}, and back again`,
    async stage(directory, ms) {
      const file = join(directory, "clock");
      const move = (by: number): Promise<void> => writeFile(file, `${by < 0 ? "" : "+"}${by}\n`);
      await move(0);
      return {
        environment: {
          LD_PRELOAD: faketime(),
          FAKETIME_TIMESTAMP_FILE: file,
          FAKETIME_NO_CACHE: "1",
          FAKETIME_DONT_FAKE_MONOTONIC: "1",
          DONT_FAKE_MONOTONIC: "1",
        },
        async make() {
          await move(seconds);
          await pause(ms);
          await move(0);
        },
      };
    },
  };
}

function natsClock(name: string, seconds: number): FaultCase {
  return {
    name,
    summary: `the clock of NATS, in a virtual machine, ${seconds > 0 ? "an hour ahead" : "an hour back"}, and back again`,
    mostAgents: MOST_ON_EMULATED_NATS,
    async stage(directory, ms) {
      const nats = await startNatsInVm(directory);
      return {
        coordinatorConfig: nats.coordinatorConfig,
        async make() {
          await nats.moveClock(seconds);
          await pause(ms);
          await nats.moveClock(-seconds);
        },
        end: async () => {
          await nats[Symbol.asyncDispose]();
        },
      };
    },
  };
}

function stopped(name: string, target: "coordinator" | "nats"): FaultCase {
  return {
    name,
    summary: `SIGSTOP of ${target} for 5 min`,
    stage: (_directory, ms) => ({
      async make(sim) {
        sim.signal(target, "SIGSTOP");
        await pause(ms);
        sim.signal(target, "SIGCONT");
      },
    }),
  };
}

/** Nothing is done: the dead alone. */
const quietly: FaultCase["stage"] = (_directory, ms) => ({ make: () => pause(ms / 10) });

export const faultCases: readonly FaultCase[] = [
  { name: "quiet", summary: "no fault: what dies is found", stage: quietly },
  {
    name: "quiet_without_second_path",
    summary: "no fault and no second path: silence ends in unknown",
    hasSecondPath: false,
    stage: quietly,
  },
  stopped("coordinator_stopped", "coordinator"),
  stopped("nats_stopped", "nats"),
  {
    name: "coordinator_starved",
    summary: "the coordinator has 5 % of a CPU for 5 min",
    stage: (_directory, ms) => ({ make: (sim) => starve(sim, ms) }),
  },
  {
    name: "loop_blocked",
    summary: "the coordinator's event loop blocked for 60 s",
    stage: (_directory, ms) => ({
      nodeArguments: ["--import", blockLoop],
      environment: { DROVER_BENCH_BLOCK_MS: String(BLOCK_MS) },
      async make(sim) {
        sim.signal("coordinator", "SIGUSR2");
        await pause(Math.max(ms, BLOCK_MS));
      },
    }),
  },
  {
    name: "flood",
    summary: "every agent beats three times as often, and tells a delta each interval, for 5 min",
    stage: (_directory, ms) => ({ make: (sim) => floodFleet(sim, ms) }),
  },
  natsClock("nats_clock_ahead", HOUR_S),
  natsClock("nats_clock_back", -HOUR_S),
  coordinatorClock("coordinator_clock_ahead", HOUR_S),
  coordinatorClock("coordinator_clock_back", -HOUR_S),
  {
    name: "restarts",
    summary: "the coordinator killed and started each 20 s, ten times",
    stage: (_directory, ms) => ({
      async make(sim) {
        for (let restart = 0; restart < RESTARTS; restart += 1) {
          const next = pause(ms * RESTART_EVERY_SHARE);
          await sim.endCoordinator("SIGKILL");
          await sim.startCoordinator();
          await next;
        }
      },
    }),
  },
  {
    name: "cell_cut",
    summary: "70 % of a zone cut off for 5 min",
    cut: (agents, zones) => {
      const members = Array.from({ length: Math.ceil(agents / zones) }, (_, at) => CUT_ZONE + at * zones).filter((index) => index < agents);
      return members.slice(0, Math.floor(members.length * CUT_SHARE));
    },
    stage: (_directory, ms) => ({ make: () => pause(ms) }),
  },
];

async function starve(sim: Sim, ms: number): Promise<void> {
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
}
