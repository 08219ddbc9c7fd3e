/** The vm: a whole machine in qemu's emulation, with its own kernel, disk, modules, swap and global sysctls; it reboots for real. */
import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import type { Bed } from "../bed.ts";
import { bedEnvironment } from "../environment.ts";
import type { Machine, RunResult } from "../machine.ts";
import { eventually, type SpawnedProgram } from "../program.ts";
import { isThere } from "../roots/cache.ts";
import { type DiskImage, diskImage } from "./disk-image.ts";
import { makeFilesDisk, ownFiles } from "./files-disk.ts";
import { qemuArguments } from "./qemu-arguments.ts";
import { ShellChannel } from "./shell-channel.ts";
import { before, type RunOptions, runOverShell, spawnOverShell } from "./shell-programs.ts";
import { SystemdServices, writeDurably } from "./systemd-services.ts";

export interface VirtualMachineOptions {
  /** Files that are there before the first boot: absolute path to content. */
  readonly files?: Readonly<Record<string, string>>;
  /** Host files to put in before the first boot: absolute path in the machine to path here; they keep their mode. */
  readonly copies?: Readonly<Record<string, string>>;
  /** Default 1536. */
  readonly memoryMib?: number;
  /** Default 2. */
  readonly cpus?: number;
  /** Until multi-user.target is reached; default 240 s: it is emulated, and others may want the processors. */
  readonly bootTimeoutMs?: number;
}

const SWAP_BYTES = 64 * 1024 * 1024;

export class VirtualMachine implements Machine {
  readonly kind = "vm";
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  /** As the machine's firmware tells it. */
  readonly systemUuid: string = randomUUID();
  readonly #bed: Bed;
  readonly #tap: string;
  readonly #options: VirtualMachineOptions;
  readonly #bootTimeoutMs: number;
  readonly #services: SystemdServices;
  #qemu: SpawnedProgram | undefined;
  #shell: ShellChannel | undefined;

  /** @param tap an interface on the bed's bridge that is there already */
  constructor(bed: Bed, name: string, address: string, tap: string, options: VirtualMachineOptions) {
    this.#bed = bed;
    this.name = name;
    this.address = address;
    this.directory = join(bed.directory, "machines", name);
    this.#tap = tap;
    this.#options = options;
    this.#bootTimeoutMs = options.bootTimeoutMs ?? 240_000;
    this.#services = new SystemdServices(this);
  }

  /** qemu's, as the host numbers it. */
  get pid(): number {
    if (this.#qemu === undefined) throw new Error(`${this.name} is powered off`);
    return this.#qemu.pid;
  }

  /** Another one after each boot. @throws while nobody answers in it */
  get bootId(): string {
    const bootId = this.#shell?.bootId;
    if (bootId === undefined) throw new Error(`${this.name} does not answer: it is off, or on its way up or down`);
    return bootId;
  }

  /** What kernel and systemd wrote to the serial line, over all boots. */
  console(): Promise<string> {
    return readFile(this.#consoleLogFile, "utf8");
  }

  async boot(): Promise<void> {
    if (this.#qemu !== undefined) throw new Error(`${this.name} runs already`);
    const image = await diskImage();
    await this.#makeDisks(image);
    const shellSocket = join(this.directory, "shell.sock");
    await rm(shellSocket, { force: true });
    const qemu = await this.#bed.spawn(
      "qemu-system-x86_64",
      qemuArguments(image, {
        memoryMib: this.#options.memoryMib ?? 1536,
        cpus: this.#options.cpus ?? 2,
        systemUuid: this.systemUuid,
        macAddress: macAddress(this.address),
        tap: this.#tap,
        ...this.#disks,
        shellSocket,
        consoleLog: this.#consoleLogFile,
      }),
      join(this.directory, "qemu.log"),
    );
    this.#qemu = qemu;
    const gone = qemu.ended.then(async (how): Promise<never> => {
      this.#shell?.close();
      if (this.#qemu === qemu) this.#qemu = undefined;
      throw new Error(`qemu ended with ${how}: ${(await qemu.log()).slice(-1000)}`);
    });
    gone.catch(() => {});
    await this.#orConsole(async () => {
      this.#shell = await Promise.race([gone, eventually("qemu's socket", 20_000, () => ShellChannel.connect(shellSocket))]);
      await Promise.race([gone, this.#up()]);
    });
  }

  async powerCut(): Promise<void> {
    const running = this.#qemu;
    if (running === undefined) return;
    running.signal("SIGKILL");
    await running.ended;
    this.#shell?.close();
    this.#qemu = undefined;
  }

  /** As an operator does it: systemd stops everything, the kernel starts anew. Resolves when it is up again. */
  async reboot(): Promise<void> {
    const bootId = this.bootId;
    const asked = this.run("/usr/bin/systemctl", ["reboot"]);
    // It may go down before it says that it will.
    asked.catch(() => {});
    await this.nextBoot(bootId);
  }

  /** Resolves when it is up in another boot than that one: after a reboot that something in it asked for. */
  async nextBoot(bootId: string): Promise<void> {
    await this.#orConsole(() => this.#up(bootId));
  }

  async run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const result = await this.runForBytes(program, args, options);
    return { exitCode: result.exitCode, stdout: lines(result.stdout), stderr: lines(result.stderr) };
  }

  /** As run(), for output that is not text. */
  async runForBytes(program: string, args: readonly string[], options: RunOptions = {}) {
    return runOverShell(this.#answering(), this.name, [program, ...args], options);
  }

  async spawn(program: string, args: readonly string[], logFile: string): Promise<SpawnedProgram> {
    return spawnOverShell(this.#answering(), [program, ...args], logFile);
  }

  async readFile(path: string): Promise<string> {
    const result = await this.run("cat", [path]);
    if (result.exitCode !== 0) throw new Error(`${this.name}: ${result.stderr.trim()}`);
    return result.stdout;
  }

  /** On the disk when it resolves: a power cut does not take it back. */
  async writeFile(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    await writeDurably(this, path, content, mode);
  }

  addService(name: string, script: string): Promise<void> {
    return this.#services.add(name, script);
  }

  /** A unit file as a package brings it; enabled and started. */
  addUnit(file: string, content: string): Promise<void> {
    return this.#services.addUnit(file, content);
  }

  servicePid(name: string): Promise<number | undefined> {
    return this.#services.pid(name);
  }

  serviceStarts(name: string): Promise<number> {
    return this.#services.starts(name);
  }

  serviceLog(name: string): Promise<string> {
    return this.#services.log(name);
  }

  get #consoleLogFile(): string {
    return join(this.directory, "console.log");
  }

  get #disks() {
    return { disk: join(this.directory, "disk.qcow2"), swap: join(this.directory, "swap.img"), files: join(this.directory, "files.tar") };
  }

  async #makeDisks(image: DiskImage): Promise<void> {
    await mkdir(this.directory, { recursive: true });
    const { disk, swap, files } = this.#disks;
    if (await isThere(disk)) return;
    const ofItsOwn = { ...ownFiles(this.name, this.address, this.#bed.address), ...this.#options.files };
    await makeFilesDisk(files, { files: ofItsOwn, copies: this.#options.copies ?? {} }, join(this.directory, "files"));
    await using swapFile = await open(swap, "w");
    await swapFile.truncate(SWAP_BYTES);
    const quietly = { env: bedEnvironment, extendEnv: false };
    await execa("mkswap", [swap], quietly);
    await execa("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, disk], quietly);
  }

  /** Resolves when systemd has reached multi-user.target in a boot other than the given one. */
  async #up(notBootId?: string): Promise<void> {
    const deadline = performance.now() + this.#bootTimeoutMs;
    const shell = this.#shell!;
    // More than once when it reboots on its way up.
    const reached = await eventually(`${this.name} reaches multi-user.target`, this.#bootTimeoutMs, async () => {
      const timeoutMs = deadline - performance.now();
      const bootId = await before(timeoutMs, `${this.name}'s shell does not answer`, shell.answering(notBootId));
      if (bootId === undefined) return "off";
      // Waits for the job that is under way.
      const started = await this.run("/usr/bin/systemctl", ["start", "multi-user.target"], { timeoutMs });
      if (started.exitCode !== 0) throw new Error(`systemctl start multi-user.target ended with ${started.exitCode}: ${started.stderr}`);
      return "up";
    });
    if (reached === "off") throw new Error("it was powered off");
  }

  /** A failure shows what the machine said last, and leaves it off. */
  async #orConsole(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      await this.powerCut();
      const said = await this.console().catch(() => "");
      const why =
        error instanceof Error ? [error.message, error.cause instanceof Error ? error.cause.message : ""].join(": ") : String(error);
      throw new Error(`${this.name} did not come up: ${why}\nthe end of its console:\n${said.slice(-3000)}`, { cause: error });
    }
  }

  #answering(): ShellChannel {
    if (this.#qemu === undefined || this.#shell === undefined) throw new Error(`${this.name} is powered off`);
    return this.#shell;
  }
}

/** One final newline is dropped, as for the other kinds of machines. */
function lines(bytes: Buffer): string {
  return bytes.toString("utf8").replace(/\r?\n$/, "");
}

function macAddress(address: string): string {
  const octets = address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0"));
  return `52:54:${octets.join(":")}`;
}
