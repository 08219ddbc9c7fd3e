/** The process of the simulation's coordinator: started, asked, killed and started again; and the nats-server that it has started. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dataFiles, isAlive, readRecord, terminate } from "@drover/coordinator/real";
import { systemClock } from "@drover/lifecycle";
import type { Observation, ObservationWanted } from "../sim-port.ts";
import type { CoordinatorArguments, FromCoordinator, ToCoordinator } from "./messages.ts";

const main = fileURLToPath(new URL("coordinator-main.ts", import.meta.url));
const START_DEADLINE_MS = 300_000;
const STOP_GRACE_MS = 40_000;

export type Serving = Extract<FromCoordinator, { type: "serving" }>;

export interface CoordinatorProcessOptions {
  readonly directory: string;
  readonly coordinatorConfig: Readonly<Record<string, unknown>>;
  readonly nodeArguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly silentAddresses: () => readonly string[];
  readonly onVerdicts: (changes: Extract<FromCoordinator, { type: "verdicts" }>["changes"]) => void;
}

/** It ended, and nobody had asked it to. */
export class CoordinatorFailed extends Error {
  override readonly name = "CoordinatorFailed";
}

export class CoordinatorProcess {
  readonly dataDir: string;
  readonly doorPath: string;
  readonly logFile: string;
  readonly #options: CoordinatorProcessOptions;
  readonly #asked = new Map<number, (observation: Observation) => void>();
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #requests = 0;
  #serving: Serving | undefined;

  constructor(options: CoordinatorProcessOptions) {
    this.#options = options;
    this.dataDir = join(options.directory, "data");
    this.doorPath = join(options.directory, "door.sock");
    this.logFile = join(options.directory, "coordinator.log");
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get natsPid(): number {
    return this.#natsRecord()?.pid ?? 0;
  }

  /** As it said when it served last. */
  get serving(): Serving {
    if (this.#serving === undefined) throw new Error("the coordinator has not served yet");
    return this.#serving;
  }

  /** Resolves when it serves. @returns ms from start to serving; @throws CoordinatorFailed with its last words */
  async start(): Promise<number> {
    const { directory, coordinatorConfig, nodeArguments, environment, silentAddresses, onVerdicts } = this.#options;
    const configFile = join(directory, "coordinator.yaml");
    // JSON is YAML.
    writeFileSync(configFile, JSON.stringify({ ...this.#config(), ...coordinatorConfig }, undefined, 2));
    const silentAddressesFile = join(directory, "silent-addresses.json");
    writeFileSync(silentAddressesFile, JSON.stringify(silentAddresses()));
    const given: CoordinatorArguments = { configFile, doorPath: this.doorPath, silentAddressesFile };
    const log = openSync(this.logFile, "a");
    const startedMs = performance.now();
    const child = spawn(process.execPath, [...nodeArguments, main, JSON.stringify(given)], {
      stdio: ["ignore", log, log, "ipc"],
      cwd: directory,
      // As drover-coordinator has it.
      env: { ...process.env, NODE_COMPILE_CACHE: join(directory, "compiled"), ...environment },
    });
    closeSync(log);
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once("exit", () => resolve()));
    const serving = new Promise<Serving>((resolve) => {
      child.on("message", (message: FromCoordinator) => {
        if (message.type === "serving") resolve(message);
        else if (message.type === "verdicts") onVerdicts(message.changes);
        else {
          this.#asked.get(message.request)?.(message.observation);
          this.#asked.delete(message.request);
        }
      });
    });
    let cancel: () => void = () => undefined;
    const late = new Promise<undefined>((resolve) => {
      cancel = systemClock.setTimer(START_DEADLINE_MS, () => resolve(undefined));
    });
    const first = await Promise.race([serving, this.#ended.then(() => undefined), late]);
    cancel();
    if (first === undefined)
      throw new CoordinatorFailed(`the coordinator does not serve; its last words in ${this.logFile}:\n${this.#lastWords()}`);
    this.#serving = first;
    return performance.now() - startedMs;
  }

  /** What it says of itself; answered when its loop has time. */
  observe(wanted: ObservationWanted): Promise<Observation> {
    const request = ++this.#requests;
    return new Promise((resolve, reject) => {
      this.#asked.set(request, resolve);
      void this.#ended.then(() => {
        if (this.#asked.delete(request)) reject(new CoordinatorFailed("the coordinator has ended"));
      });
      this.tell({ type: "observe", request, wanted });
    });
  }

  tell(message: ToCoordinator): void {
    if (this.#child?.connected === true) this.#child.send(message);
  }

  signal(target: "coordinator" | "nats", name: NodeJS.Signals): void {
    if (target === "coordinator") this.#child?.kill(name);
    else if (this.natsPid > 0) process.kill(this.natsPid, name);
  }

  /** Resolves when it is gone. */
  async end(name: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill("SIGCONT");
    child.kill(name);
    const cancel = systemClock.setTimer(STOP_GRACE_MS, () => child.kill("SIGKILL"));
    await this.#ended;
    cancel();
    this.#child = undefined;
  }

  /** Of the server that a killed coordinator has left. */
  async endNats(): Promise<void> {
    const record = this.#natsRecord();
    if (record === undefined) return;
    process.kill(record.pid, "SIGCONT");
    await terminate(record, 10_000, systemClock);
  }

  #natsRecord() {
    const record = readRecord(join(dataFiles(this.dataDir).nats, "nats.pid.json"));
    return record !== undefined && isAlive(record) ? record : undefined;
  }

  /** Ports stay what they were: agents know them. */
  #config(): Record<string, unknown> {
    const ports = this.#serving;
    const at = (port: number | undefined): string => `127.0.0.1:${port ?? 0}`;
    return {
      dataDir: this.dataDir,
      listen: { session: at(ports?.session), enrolment: at(ports?.enrolment), metrics: at(ports?.metrics) },
      advertise: { hosts: ["127.0.0.1"] },
      nats: { embedded: { port: 0 } },
      log: { level: "info" },
    };
  }

  #lastWords(): string {
    return readFileSync(this.logFile, "utf8").slice(-3_000);
  }
}
