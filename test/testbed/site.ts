/**
 * A whole site in one bed: coordinator with its embedded NATS, a registry, and machines with containerd and agent.
 * What the quickstart shows and what campaigns shoot at.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { Bed } from "./bed.ts";
import type { FullMachine } from "./full/full-machine.ts";
import { configureContainerd } from "./full/operator.ts";
import type { LightMachine } from "./light/light-machine.ts";
import type { Machine } from "./machine.ts";
import { eventually, type SpawnedProgram } from "./program.ts";
import { agentExecutable } from "./roots/agent-executable.ts";
import type { VirtualMachine, VirtualMachineOptions } from "./vm/virtual-machine.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));
export const nodeProgram = join(top, "node_modules/.bin/node");
const coordinatorMain = join(top, "coordinator/src/main.ts");
const agentMain = join(top, "agent/src/main.ts");
const pushMain = join(top, "test/support/images/push-main.ts");
const agentUnit = join(top, "images/systemd/drover-agent.service");
const preseedUnit = join(top, "images/systemd/drover-preseed.service");
const cliMain = join(top, "cli/src/main.ts");

export interface SiteOptions {
  /** Of each agent; default: as the product has them. */
  readonly intervals?: { readonly poll?: string; readonly driftScan?: string; readonly heartbeat?: string };
  /** argv that runs an agent; default: this checkout's source on Node. */
  readonly agent?: readonly string[];
  /** More environment of the agents, for failpoints. */
  readonly agentEnvironment?: Readonly<Record<string, string>>;
  /** More keys of coordinator.yaml. */
  readonly coordinatorConfig?: Readonly<Record<string, unknown>>;
}

export interface AddMachineOptions {
  readonly kind?: "light";
  /** Called before anything is started on it: another containerd, another configuration. */
  readonly prepare?: (machine: LightMachine) => Promise<void>;
}

export interface AddFullMachineOptions {
  readonly kind: "full";
  /** Called before the agent is started. */
  readonly prepare?: (machine: FullMachine) => Promise<void>;
}

export interface AddVirtualMachineOptions extends Omit<VirtualMachineOptions, "copies"> {
  readonly kind: "vm";
  /** Called before the agent is started. */
  readonly prepare?: (machine: VirtualMachine) => Promise<void>;
}

export interface LockEntry {
  readonly name: string;
  readonly digest: string;
  readonly size: number;
  readonly pinned: boolean;
}

export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Site implements AsyncDisposable {
  readonly bed: Bed;
  readonly machines = new Map<string, LightMachine | FullMachine | VirtualMachine>();
  /** Every one that was given to a machine: what must be found nowhere. */
  readonly joinTokens: { readonly name: string; readonly joinToken: string }[] = [];
  /** "host:port" of the registry, as images and mirrors name it. */
  readonly registry: string;
  readonly contextFile: string;
  readonly #options: SiteOptions;
  #coordinator: SpawnedProgram | undefined;
  #registry: SpawnedProgram | undefined;

  private constructor(bed: Bed, options: SiteOptions) {
    this.bed = bed;
    this.#options = options;
    this.registry = `${bed.address}:5000`;
    this.contextFile = join(bed.directory, "drover.yaml");
  }

  /**
   * A bed with a running coordinator, and an admin's context file for the CLI.
   * @throws when this checkout lies where machines do not see it
   */
  static async make(options: SiteOptions = {}): Promise<Site> {
    const hidden = ["/etc/", "/run/", "/var/lib/"].find((folder) => top.startsWith(folder));
    if (hidden !== undefined) throw new Error(`machines have a ${hidden} of their own and would not see ${top}: clone elsewhere`);
    const site = new Site(await Bed.make(), options);
    try {
      await site.#configureCoordinator();
      await site.startCoordinator();
      await site.#createOperator();
      return site;
    } catch (error) {
      await site[Symbol.asyncDispose]();
      throw error;
    }
  }

  get coordinator(): SpawnedProgram {
    if (this.#coordinator === undefined) throw new Error("the coordinator is not running");
    return this.#coordinator;
  }

  get coordinatorLogFile(): string {
    return join(this.bed.directory, "coordinator.log");
  }

  get dataDirectory(): string {
    return join(this.bed.directory, "coordinator");
  }

  /** Its cache is the bed's, too: nothing is left in the user's. */
  get #cliEnvironment(): Readonly<Record<string, string>> {
    return { DROVER_CONFIG: this.contextFile, XDG_CACHE_HOME: this.bed.directory };
  }

  /** argv prefix that runs the operator's CLI in the bed. */
  get cliCommand(): readonly string[] {
    return [
      ...this.bed.enter,
      "env",
      ...Object.entries(this.#cliEnvironment).map(([name, value]) => `${name}=${value}`),
      nodeProgram,
      cliMain,
    ];
  }

  async startCoordinator(): Promise<void> {
    this.#coordinator = await this.bed.spawn(
      nodeProgram,
      [coordinatorMain, "run", "--config", join(this.bed.directory, "coordinator.yaml")],
      this.coordinatorLogFile,
    );
    const running = this.#coordinator;
    let hasEnded = false;
    void running.ended.then(() => {
      hasEnded = true;
    });
    await eventually("the coordinator is ready", 60_000, async () => {
      if (hasEnded) return true;
      const answer = await this.bed.run(nodeProgram, [
        "-e",
        "fetch('http://127.0.0.1:7445/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))",
      ]);
      return answer.exitCode === 0;
    });
    if (hasEnded)
      throw new Error(`the coordinator ended: ${(await readFile(this.coordinatorLogFile, "utf8")).split("\n").slice(-20).join("\n")}`);
  }

  /** `drover WORDS...` in the bed. */
  async drover(words: readonly string[], options: { readonly timeoutMs?: number; readonly input?: string } = {}): Promise<CliResult> {
    return this.bed.run(nodeProgram, [cliMain, ...words], { ...options, env: this.#cliEnvironment });
  }

  /** As drover(), but a failure is an error. @returns standard output */
  async mustDrover(words: readonly string[], options: { readonly timeoutMs?: number; readonly input?: string } = {}): Promise<string> {
    const result = await this.drover(words, options);
    if (result.exitCode !== 0) throw new Error(`drover ${words.join(" ")} ended with ${result.exitCode}: ${result.stderr}${result.stdout}`);
    return result.stdout;
  }

  /** A manifest file in the bed's folder; gives its path. */
  async manifest(name: string, ...objects: readonly object[]): Promise<string> {
    const path = join(this.bed.directory, `${name}.yaml`);
    await writeFile(path, objects.map((object) => stringify(object)).join("---\n"));
    return path;
  }

  async startRegistry(): Promise<void> {
    const storage = join(this.bed.directory, "registry");
    await mkdir(storage, { recursive: true });
    const config = join(this.bed.directory, "registry.yaml");
    await writeFile(
      config,
      stringify({
        version: 0.1,
        log: { level: "warn" },
        storage: { filesystem: { rootdirectory: storage } },
        http: { addr: this.registry },
      }),
    );
    this.#registry = await this.bed.spawn("docker-registry", ["serve", config], join(this.bed.directory, "registry.log"));
    await eventually("the registry answers", 30_000, async () => {
      const script = `fetch('http://${this.registry}/v2/').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))`;
      return (await this.bed.run(nodeProgram, ["-e", script])).exitCode === 0;
    });
  }

  /**
   * Pushes made-up images into the registry.
   * @param sizes image name ("registry.example/team/app:1") to bytes; the first part of the name is served by mirrors only
   * @returns entries of an image lock
   */
  async pushImages(sizes: Readonly<Record<string, number>>): Promise<readonly LockEntry[]> {
    const wanted = Object.entries(sizes).map(([name, size]) => `${name}=${size}`);
    const pushed = await this.bed.run(nodeProgram, [pushMain, `http://${this.registry}`, ...wanted], { timeoutMs: 120_000 });
    if (pushed.exitCode !== 0) throw new Error(`images could not be pushed: ${pushed.stderr}`);
    return JSON.parse(pushed.stdout) as readonly LockEntry[];
  }

  /** A light machine (or a full or virtual one) with containerd, enrolled by a fresh join token and with its agent running. */
  async addMachine(name: string, labels?: Readonly<Record<string, string>>, options?: AddMachineOptions): Promise<LightMachine>;
  async addMachine(name: string, labels: Readonly<Record<string, string>>, options: AddFullMachineOptions): Promise<FullMachine>;
  async addMachine(name: string, labels: Readonly<Record<string, string>>, options: AddVirtualMachineOptions): Promise<VirtualMachine>;
  async addMachine(
    name: string,
    labels: Readonly<Record<string, string>> = {},
    options: AddMachineOptions | AddFullMachineOptions | AddVirtualMachineOptions = {},
  ): Promise<Machine> {
    if (options.kind !== "full" && options.kind !== "vm") return this.#addLightMachine(name, labels, options);
    const units = "/usr/lib/systemd/system";
    const copies = {
      "/usr/bin/drover-agent": await agentExecutable(),
      [`${units}/drover-agent.service`]: agentUnit,
      [`${units}/drover-preseed.service`]: preseedUnit,
    };
    if (options.kind === "full") {
      const machine = await this.bed.addFullMachine(name, { copies });
      await this.#startAgent(machine, labels, async () => options.prepare?.(machine));
      return machine;
    }
    const machine = await this.bed.addVirtualMachine(name, { ...options, copies });
    await this.#startAgent(machine, labels, async () => options.prepare?.(machine));
    // What a power cut comes after is on the disk.
    await machine.run("sync", []);
    return machine;
  }

  async #addLightMachine(name: string, labels: Readonly<Record<string, string>>, options: AddMachineOptions): Promise<LightMachine> {
    const machine = await this.bed.addLightMachine(name);
    this.machines.set(name, machine);
    await machine.writeFile("/etc/containerd/config.toml", containerdConfig);
    await this.#allow(machine, labels);
    await options.prepare?.(machine);
    await machine.addService("containerd", "exec /usr/bin/containerd\n");
    const environment = Object.entries(this.#options.agentEnvironment ?? {}).map(([key, value]) => `${key}=${value}`);
    const agent = this.#options.agent ?? [nodeProgram, agentMain];
    const command = `exec env ${[...environment, ...agent].join(" ")}`;
    await machine.writeFile("/etc/drover-bed/preseed", `${command} preseed --config /etc/drover/agent.yaml\n`, 0o755);
    await machine.addService("drover-agent", `${command} run --config /etc/drover/agent.yaml\n`);
    return machine;
  }

  /** On a machine with systemd, where the agent's package is installed: single executable and unit. */
  async #startAgent(
    machine: FullMachine | VirtualMachine,
    labels: Readonly<Record<string, string>>,
    prepare: () => Promise<void>,
  ): Promise<void> {
    this.machines.set(machine.name, machine);
    await configureContainerd(machine);
    await this.#allow(machine, labels);
    await prepare();
    const environment = Object.entries(this.#options.agentEnvironment ?? {}).map(([key, value]) => `Environment=${key}=${value}\n`);
    if (environment.length > 0) {
      await machine.writeFile("/etc/systemd/system/drover-agent.service.d/bed.conf", `[Service]\n${environment.join("")}`);
    }
    const enabled = await machine.run("systemctl", ["enable", "drover-preseed.service"]);
    if (enabled.exitCode !== 0) throw new Error(`${machine.name}: drover-preseed.service cannot be enabled: ${enabled.stderr}`);
    const started = await machine.run("systemctl", ["enable", "--now", "drover-agent.service"], { timeoutMs: 180_000 });
    if (started.exitCode !== 0) throw new Error(`${machine.name}: the agent did not start: ${await machine.serviceLog("drover-agent")}`);
  }

  /** Join token and configuration for the agent. */
  async #allow(machine: Machine, labels: Readonly<Record<string, string>>): Promise<void> {
    const { name } = machine;
    const words = Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]);
    const token = JSON.parse(await this.mustDrover(["token", "create", "-o", "json", "--description", `for ${name}`, ...words])) as {
      joinToken: string;
      caPin: string;
      endpoint: string;
    };
    this.joinTokens.push({ name, joinToken: token.joinToken });
    await machine.writeFile("/etc/drover/join-token", `${token.joinToken}\n`, 0o600);
    await machine.writeFile(
      "/etc/drover/agent.yaml",
      stringify({ coordinator: token.endpoint, caPin: token.caPin, name, intervals: this.#options.intervals ?? {} }),
    );
  }

  /** Coordinator and NATS orderly, then everything else at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#coordinator?.stop();
    await this.#registry?.stop(2000);
    await this.bed[Symbol.asyncDispose]();
  }

  async #configureCoordinator(): Promise<void> {
    await writeFile(
      join(this.bed.directory, "coordinator.yaml"),
      stringify({ dataDir: this.dataDirectory, advertise: { hosts: [this.bed.address] }, ...this.#options.coordinatorConfig }),
    );
  }

  async #createOperator(): Promise<void> {
    const made = await this.bed.run(nodeProgram, [
      coordinatorMain,
      "operator",
      "create",
      "admin",
      "--role",
      "admin",
      "--config",
      join(this.bed.directory, "coordinator.yaml"),
      "--out",
      this.contextFile,
    ]);
    if (made.exitCode !== 0) throw new Error(`operator create ended with ${made.exitCode}: ${made.stderr}${made.stdout}`);
  }
}

/** What the operator's own file says before Drover comes; the restriction is needed where root may not raise OOM scores. */
const containerdConfig = `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
`;
