/** The bed: namespaces of the test's own in which machines, coordinator, NATS and registries meet; ends with its holder. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { bedEnvironment } from "./environment.ts";
import { FullMachine, type FullMachineOptions } from "./full/full-machine.ts";
import { type LightMachineOptions, LightMachine } from "./light/light-machine.ts";
import { type SpawnedProgram, spawnProgram } from "./program.ts";
import { VirtualMachine, type VirtualMachineOptions } from "./vm/virtual-machine.ts";

const script = fileURLToPath(new URL("./bed.sh", import.meta.url));

export class Bed implements AsyncDisposable {
  /** For files of the test; removed at the end. */
  readonly directory: string;
  /** The bed's own address on its bridge; where coordinator and registries listen. */
  readonly address = "10.213.0.1";
  readonly #holder: ChildProcess;
  readonly #pid: number;
  readonly #machines: LightMachine[] = [];
  #nextHost = 11;

  private constructor(directory: string, holder: ChildProcess, pid: number) {
    this.directory = directory;
    this.#holder = holder;
    this.#pid = pid;
  }

  /** @throws when this is not root, or namespaces cannot be made */
  static async make(): Promise<Bed> {
    const directory = await mkdtemp(join(process.env["DROVER_BED_DIR"] ?? "/var/tmp", "drover-bed-"));
    const holder = spawn("/bin/sh", [script, directory], { stdio: ["pipe", "pipe", "inherit"], env: bedEnvironment, detached: true });
    const first = await new Promise<string>((resolve, reject) => {
      createInterface({ input: holder.stdout }).once("line", resolve);
      holder.once("exit", (code) => reject(new Error(`the bed ended with ${code} before it was ready`)));
      holder.once("error", reject);
    });
    const [word, pid] = first.split(" ");
    if (word !== "ready" || pid === undefined) throw new Error(`bed: ${first}`);
    const bed = new Bed(directory, holder, Number(pid));
    holder.unref();
    (holder.stdin as unknown as { unref(): void }).unref();
    (holder.stdout as unknown as { unref(): void }).unref();
    // An address of its own: a bridge without one takes its ports' lowest, and forgets its neighbours, permanent ones too, when that machine comes or goes.
    await bed.#network(["link", "add", "br0", "address", "02:64:72:6f:76:01", "type", "bridge"]);
    await bed.#network(["addr", "add", `${bed.address}/24`, "dev", "br0"]);
    await bed.#network(["link", "set", "br0", "up"]);
    return bed;
  }

  /** argv that runs what follows in the bed's network and mount namespaces. */
  get enter(): readonly string[] {
    return ["nsenter", `--target=${this.#pid}`, "--net", "--mount", "--pid", "--"];
  }

  async run(
    program: string,
    args: readonly string[],
    options: { readonly env?: NodeJS.ProcessEnv; readonly timeoutMs?: number; readonly input?: string } = {},
  ) {
    const [nsenter, ...enter] = this.enter;
    const result = await execa(nsenter!, [...enter, program, ...args], {
      reject: false,
      timeout: options.timeoutMs ?? 60_000,
      env: { ...bedEnvironment, ...options.env },
      extendEnv: false,
      ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
    });
    return { exitCode: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
  }

  /** Starts a program in the bed; it dies with the bed. */
  async spawn(program: string, args: readonly string[], logFile: string, env: NodeJS.ProcessEnv = {}): Promise<SpawnedProgram> {
    const [nsenter, ...enter] = this.enter;
    return spawnProgram(nsenter!, [...enter, program, ...args], { logFile, env: { ...bedEnvironment, ...env }, wrappers: 1 });
  }

  /** A light machine, booted. */
  async addLightMachine(name: string, options: LightMachineOptions = {}): Promise<LightMachine> {
    const machine = new LightMachine(this, name, `10.213.0.${this.#nextHost++}`, options);
    this.#machines.push(machine);
    await machine.boot();
    return machine;
  }

  /** A full machine, booted. The first of a computer builds its root file system: a minute. */
  async addFullMachine(name: string, options: FullMachineOptions = {}): Promise<FullMachine> {
    const machine = new FullMachine(this, name, `10.213.0.${this.#nextHost++}`, options);
    await machine.boot();
    return machine;
  }

  /** A virtual machine, booted: about half a minute, and as long again where its disk image is not there yet. */
  async addVirtualMachine(name: string, options: VirtualMachineOptions = {}): Promise<VirtualMachine> {
    const host = this.#nextHost++;
    const tap = `t${host}`;
    await this.#network(["tuntap", "add", "dev", tap, "mode", "tap"]);
    await this.#network(["link", "set", tap, "master", "br0", "up"]);
    const machine = new VirtualMachine(this, name, `10.213.0.${host}`, tap, options);
    await machine.boot();
    return machine;
  }

  /** Joins the network namespace of a machine's pid 1 to the bridge. */
  async plug(machinePid: number, address: string, index: number): Promise<void> {
    const outside = `m${index}`;
    await this.#network(["link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", String(machinePid)]);
    await this.#network(["link", "set", outside, "master", "br0", "up"]);
    const inside = ["--target", String(machinePid), "--net", "ip"];
    await execa("nsenter", [...inside, "addr", "add", `${address}/24`, "dev", "eth0"], { env: bedEnvironment, extendEnv: false });
    await execa("nsenter", [...inside, "link", "set", "eth0", "up"], { env: bedEnvironment, extendEnv: false });
    await execa("nsenter", [...inside, "route", "add", "default", "via", this.address], { env: bedEnvironment, extendEnv: false });
  }

  /** Everything in it dies, its folder goes. */
  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((resolve) => {
      if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) resolve(undefined);
      else this.#holder.once("exit", resolve);
    });
    this.#holder.ref();
    this.#holder.stdin?.end();
    await gone;
    await rm(this.directory, { recursive: true, force: true });
  }

  async #network(args: readonly string[]): Promise<void> {
    await execa("nsenter", [`--target=${this.#pid}`, "--net", "--", "ip", ...args], { env: bedEnvironment, extendEnv: false });
  }
}
