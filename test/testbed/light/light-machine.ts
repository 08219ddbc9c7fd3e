/** The light machine: namespaces with an own /etc, /var/lib, /run, boot id and network sysctls, and a supervisor as pid 1. */
import { randomUUID } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import type { Bed } from "../bed.ts";
import { bedEnvironment } from "../environment.ts";
import type { Machine, RunResult } from "../machine.ts";
import { hostPid } from "../pid-namespace.ts";
import { eventually, type SpawnedProgram, spawnProgram } from "../program.ts";

const init = fileURLToPath(new URL("./init.sh", import.meta.url));
const systemctl = fileURLToPath(new URL("./systemctl.sh", import.meta.url));

export interface LightMachineOptions {
  /** Files that are there before the first boot: absolute path to content. */
  readonly files?: Readonly<Record<string, string>>;
}

let nextLink = 0;

export class LightMachine implements Machine {
  readonly kind = "light";
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  readonly #bed: Bed;
  readonly #options: LightMachineOptions;
  #init: SpawnedProgram | undefined;

  constructor(bed: Bed, name: string, address: string, options: LightMachineOptions) {
    this.#bed = bed;
    this.name = name;
    this.address = address;
    this.directory = join(bed.directory, "machines", name);
    this.#options = options;
  }

  async boot(): Promise<void> {
    if (this.#init !== undefined) throw new Error(`${this.name} runs already`);
    await mkdir(this.directory, { recursive: true });
    await copyFile(systemctl, join(this.directory, "systemctl"));
    await rm(join(this.directory, "up"), { force: true });
    await writeFile(join(this.directory, "boot_id"), `${randomUUID()}\n`);
    const [nsenter, ...enter] = this.#bed.enter;
    this.#init = await spawnProgram(
      nsenter!,
      [
        ...enter,
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "/bin/sh",
        init,
        this.directory,
        this.name,
      ],
      { logFile: join(this.directory, "init.log"), env: bedEnvironment, wrappers: 2 },
    );
    await eventually(`machine ${this.name} is up`, 20_000, async () => {
      if ((await readFile(join(this.directory, "up"), "utf8").catch(() => "")) !== "") return true;
      return false;
    }).catch(async (error: unknown) => {
      throw new Error(`machine ${this.name} did not come up: ${await readFile(join(this.directory, "init.log"), "utf8")}`, {
        cause: error,
      });
    });
    await this.#bed.plug(this.#init.pid, this.address, nextLink++);
    for (const [path, content] of Object.entries(this.#options.files ?? {})) await this.writeFile(path, content);
  }

  async powerCut(): Promise<void> {
    const running = this.#init;
    if (running === undefined) return;
    this.#init = undefined;
    running.signal("SIGKILL");
    await running.ended;
  }

  async run(
    program: string,
    args: readonly string[],
    options: { readonly timeoutMs?: number; readonly input?: string } = {},
  ): Promise<RunResult> {
    const result = await execa("nsenter", [...this.#enter(), program, ...args], {
      reject: false,
      timeout: options.timeoutMs ?? 60_000,
      env: bedEnvironment,
      extendEnv: false,
      ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
    });
    if (result.timedOut) throw new Error(`${program} ${args.join(" ")} on ${this.name} took longer than ${options.timeoutMs ?? 60_000} ms`);
    return { exitCode: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
  }

  async spawn(program: string, args: readonly string[], logFile: string): Promise<SpawnedProgram> {
    return spawnProgram("nsenter", [...this.#enter(), program, ...args], { logFile, env: bedEnvironment, wrappers: 1 });
  }

  async readFile(path: string): Promise<string> {
    const result = await this.run("cat", [path]);
    if (result.exitCode !== 0) throw new Error(`${this.name}: ${result.stderr.trim()}`);
    return result.stdout;
  }

  async writeFile(path: string, content: string, mode = 0o644): Promise<void> {
    // Hidden, so that nobody who lists the folder takes the half for the whole: the supervisor would start it as a service.
    const half = join(dirname(path), `.${basename(path)}.new`);
    const script = 'mkdir -p "$1" && cat > "$2" && chmod "$3" "$2" && mv "$2" "$4"';
    const result = await this.run("sh", ["-c", script, "sh", dirname(path), half, mode.toString(8), path], { input: content });
    if (result.exitCode !== 0) throw new Error(`${this.name}: ${result.stderr.trim()}`);
  }

  async addService(name: string, serviceScript: string): Promise<void> {
    await this.writeFile(`/etc/drover-bed/services/${name}`, serviceScript, 0o755);
  }

  async servicePid(name: string): Promise<number | undefined> {
    const inside = (await this.#supervised(name, "pid")) ?? "";
    if (inside === "") return undefined;
    return hostPid(this.pid, Number(inside));
  }

  async serviceStarts(name: string): Promise<number> {
    return Number((await this.#supervised(name, "starts")) ?? "0");
  }

  async serviceLog(name: string): Promise<string> {
    return readFile(join(this.directory, `${name}.log`), "utf8").catch(() => "");
  }

  async #supervised(name: string, what: "pid" | "starts"): Promise<string | undefined> {
    const result = await this.run("cat", [`/run/supervisor/${name}.${what}`]);
    return result.exitCode === 0 ? result.stdout.trim() : undefined;
  }

  /** pid 1 of the machine, as the host numbers it. */
  get pid(): number {
    if (this.#init === undefined) throw new Error(`${this.name} is powered off`);
    return this.#init.pid;
  }

  #enter(): string[] {
    return [`--target=${this.pid}`, "--net", "--mount", "--pid", "--uts", "--ipc", "--"];
  }
}
