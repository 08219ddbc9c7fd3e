/** The socket tier: processes of at most some thousand agents each, because a process has at most 20,000 descriptors, and steering them all at once. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dataFiles } from "@drover/coordinator/real";
import { Plan } from "@drover/proto";
import type { CoordinatorProcess } from "../coordinator/coordinator-process.ts";
import { type FleetOptions, noCounts } from "../fleet/agent-fleet.ts";
import type { FleetControl, FleetStatus, LedgerEntry } from "../fleet-control.ts";
import type { AgentCounts } from "../sim-port.ts";
import type { FromWorker, ToWorker, WorkerArguments } from "./worker-messages.ts";

const main = fileURLToPath(new URL("worker-main.ts", import.meta.url));
/** A session takes a descriptor besides the agent's own. */
const MOST_PER_PROCESS = 5_000;
/** Fewer are not worth one: opening sessions costs an agent more than the coordinator, and they all come at once in a rollout. */
const LEAST_PER_PROCESS = 1_000;

export function openSocketFleet(options: FleetOptions, coordinator: CoordinatorProcess, directory: string): FleetControl {
  const { foundPlan, ...fleet } = options;
  const worthwhile = Math.min(availableParallelism(), Math.ceil(options.agents / LEAST_PER_PROCESS));
  const processes = Math.max(worthwhile, Math.ceil(options.agents / MOST_PER_PROCESS));
  const workers = Array.from({ length: processes }, (_, at) => {
    const first = Math.floor((at * options.agents) / processes);
    const agents = Math.floor(((at + 1) * options.agents) / processes) - first;
    return new Worker(at, argumentsOf({ ...fleet, first, agents }, foundPlan, coordinator), directory);
  });
  const intervals = (): number[] => workers.map(({ status }) => status?.heartbeatIntervalMs ?? options.heartbeatIntervalMs);
  const send = (message: ToWorker): void => {
    for (const worker of workers) worker.send(message);
  };
  return {
    get counts() {
      return sumOf(workers.map(({ status }) => status?.counts ?? noCounts()));
    },
    get heartbeatIntervalMs() {
      return Math.max(...intervals());
    },
    get isSettled() {
      return workers.every(({ status }) => status?.unheard === 0);
    },
    takeWorstLateMs: () => Math.max(...workers.map((worker) => worker.takeWorstLateMs())),
    apply: (fault) => send({ type: "fault", fault }),
    setChangesPerMinute: (share) => send({ type: "changes", share }),
    ledger: async () => (await Promise.all(workers.map((worker) => worker.ledger()))).flat(),
    get pids() {
      return workers.map(({ pid }) => pid);
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.end()));
    },
  };
}

class Worker {
  status: FleetStatus | undefined;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #worstLateMs = 0;
  #takeLedger: (entries: readonly LedgerEntry[]) => void = () => undefined;

  constructor(at: number, given: WorkerArguments, directory: string) {
    const log = openSync(join(directory, `agents-${at}.log`), "a");
    this.#child = spawn(process.execPath, [main], { stdio: ["ignore", log, log, "ipc"] });
    closeSync(log);
    this.#ended = new Promise((resolve) => this.#child.once("exit", () => resolve()));
    this.#child.on("message", (message: FromWorker) => {
      if (message.type === "ledger") return this.#takeLedger(message.entries);
      this.status = message.status;
      this.#worstLateMs = Math.max(this.#worstLateMs, message.status.worstLateMs);
    });
    this.#child.send(given);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message);
  }

  takeWorstLateMs(): number {
    const worst = this.#worstLateMs;
    this.#worstLateMs = 0;
    return worst;
  }

  ledger(): Promise<readonly LedgerEntry[]> {
    return new Promise((resolve, reject) => {
      this.#takeLedger = resolve;
      void this.#ended.then(() => reject(new Error("a process of agents has ended")));
      this.send({ type: "ledger" });
    });
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

function argumentsOf(fleet: WorkerArguments["fleet"], foundPlan: Plan | undefined, coordinator: CoordinatorProcess): WorkerArguments {
  const files = dataFiles(coordinator.dataDir);
  const { nats, session } = coordinator.serving;
  return {
    natsTrustDir: files.natsTrust,
    authorityDir: files.authority,
    natsUrl: nats.url,
    natsCaPem: nats.caPem,
    sessionEndpoint: `127.0.0.1:${session}`,
    fleet,
    foundPlan: foundPlan && Buffer.from(Plan.encode(foundPlan).finish()).toString("base64"),
  };
}

function sumOf(all: readonly AgentCounts[]): AgentCounts {
  const sum = noCounts();
  for (const counts of all) for (const key of Object.keys(sum) as (keyof AgentCounts)[]) sum[key] += counts[key];
  return sum;
}
