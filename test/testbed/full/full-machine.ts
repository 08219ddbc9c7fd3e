/** The full machine: a booted Debian 12 with systemd, containerd, kubelet and kubeadm in systemd-nspawn, on the shared kernel. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import type { Bed } from "../bed.ts";
import { bedEnvironment } from "../environment.ts";
import type { Machine, RunResult } from "../machine.ts";
import { hostPid } from "../pid-namespace.ts";
import { eventually, type SpawnedProgram, spawnProgram } from "../program.ts";
import { isThere } from "../roots/cache.ts";
import { rootFileSystem } from "../roots/root-file-system.ts";

const startScript = fileURLToPath(new URL("./start-machine.sh", import.meta.url));
const prepareScript = fileURLToPath(new URL("./prepare-boot.sh", import.meta.url));
/** As systemctl says it when systemd does not speak yet. */
const NOT_YET = ["", "offline"];
const BOOTED = ["running", "degraded"];
const BOOT_TIMEOUT_MS = 240_000;

export interface FullMachineOptions {
  /** Files that are there before the first boot: absolute path to content. */
  readonly files?: Readonly<Record<string, string>>;
  /** Host files to put in before the first boot: absolute path in the machine to path here; they keep their mode. */
  readonly copies?: Readonly<Record<string, string>>;
}

export class FullMachine implements Machine {
  readonly kind = "full";
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  readonly #bed: Bed;
  readonly #options: FullMachineOptions;
  #nspawn: SpawnedProgram | undefined;
  #pid: number | undefined;

  constructor(bed: Bed, name: string, address: string, options: FullMachineOptions) {
    // nspawn takes these for a machine, and the kernel no longer name for its side of the link ("vb-NAME").
    if (!/^[a-z][a-z0-9-]{0,11}$/.test(name)) throw new RangeError(`${name}: a full machine's name has 1 to 12 of a-z, 0-9 and -`);
    this.#bed = bed;
    this.name = name;
    this.address = address;
    this.directory = join(bed.directory, "machines", name);
    this.#options = options;
  }

  async boot(): Promise<void> {
    if (this.#nspawn !== undefined) throw new Error(`${this.name} runs already`);
    const root = await rootFileSystem();
    await this.#install(root);
    const [nsenter, ...enter] = this.#bed.enter;
    const started = await spawnProgram(
      nsenter!,
      [...enter, "sh", startScript, root, this.directory, this.name, basename(this.#bed.directory)],
      { logFile: this.#consoleFile, env: bedEnvironment, wrappers: 1 },
    );
    this.#nspawn = started;
    let hasEnded = false;
    void started.ended.then(() => {
      hasEnded = true;
      // It may have powered itself off, or rebooted, which ends nspawn too.
      if (this.#nspawn !== started) return;
      this.#nspawn = undefined;
      this.#pid = undefined;
    });
    try {
      this.#pid = await eventually("its pid 1", BOOT_TIMEOUT_MS, () => (hasEnded ? 0 : machinePid(started.pid)));
      if (hasEnded || this.#pid === 0) throw new Error("systemd-nspawn ended");
      await this.#plug();
      await eventually("systemd answers", BOOT_TIMEOUT_MS, async () => {
        if (hasEnded) throw new Error("systemd-nspawn ended");
        return !NOT_YET.includes(await this.#systemState());
      });
      await this.#must("sh", ["-s"], await readFile(prepareScript, "utf8"));
      await eventually("it has booted", BOOT_TIMEOUT_MS, async () => {
        if (hasEnded) throw new Error("systemd-nspawn ended");
        return BOOTED.includes(await this.#systemState());
      });
    } catch (error) {
      const said = await readFile(this.#consoleFile, "utf8").catch(() => "");
      await this.powerCut();
      throw new Error(`machine ${this.name} did not come up: ${said.slice(-2000)}`, { cause: error });
    }
  }

  async #systemState(): Promise<string> {
    return (await this.run("systemctl", ["is-system-running"])).stdout;
  }

  async powerCut(): Promise<void> {
    const running = this.#nspawn;
    if (running === undefined) return;
    const pid = this.#pid;
    this.#nspawn = undefined;
    this.#pid = undefined;
    if (pid === undefined || pid === 0) running.signal("SIGKILL");
    else process.kill(pid, "SIGKILL");
    await running.ended;
  }

  async run(
    program: string,
    args: readonly string[],
    options: { readonly timeoutMs?: number; readonly input?: string } = {},
  ): Promise<RunResult> {
    const timeout = options.timeoutMs ?? 60_000;
    const result = await execa("nsenter", [...this.#enter(), program, ...args], {
      reject: false,
      timeout,
      env: bedEnvironment,
      extendEnv: false,
      ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
    });
    if (result.timedOut) throw new Error(`${program} ${args.join(" ")} on ${this.name} took longer than ${timeout} ms`);
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
    const half = join(dirname(path), `.${basename(path)}.new`);
    const script = 'mkdir -p "$1" && cat > "$2" && chmod "$3" "$2" && mv "$2" "$4"';
    await this.#must("sh", ["-c", script, "sh", dirname(path), half, mode.toString(8), path], content);
  }

  async addService(name: string, serviceScript: string): Promise<void> {
    const script = `/etc/drover-bed/services/${name}`;
    await this.writeFile(script, serviceScript, 0o755);
    await this.writeFile(`/etc/systemd/system/${name}.service`, serviceUnit(name, script));
    await this.#must("systemctl", ["daemon-reload"]);
    await this.#must("systemctl", ["enable", "--now", `${name}.service`]);
  }

  async servicePid(name: string): Promise<number | undefined> {
    const inside = Number((await this.#must("systemctl", ["show", "--property=MainPID", "--value", `${name}.service`])).trim());
    return inside === 0 ? undefined : hostPid(this.pid, inside);
  }

  /** Each start has an invocation of its own, and systemd says something about each. */
  async serviceStarts(name: string): Promise<number> {
    const fields = ["--boot", "--no-pager", "--output=json", "--output-fields=INVOCATION_ID"];
    const said = await this.#must("journalctl", [...fields, "_PID=1", `UNIT=${name}.service`]);
    const ids = said.split("\n").flatMap((line) => (line === "" ? [] : [(JSON.parse(line) as { INVOCATION_ID?: string }).INVOCATION_ID]));
    return new Set(ids.filter((id) => id !== undefined)).size;
  }

  /** Over all boots: what it wrote, and what systemd said about it. */
  async serviceLog(name: string): Promise<string> {
    return this.#must("journalctl", ["--no-pager", "--output=cat", `--unit=${name}.service`]);
  }

  /** pid 1 of the machine, as the host numbers it. */
  get pid(): number {
    if (this.#pid === undefined || this.#pid === 0) throw new Error(`${this.name} is powered off`);
    return this.#pid;
  }

  get #consoleFile(): string {
    return join(this.directory, "console.log");
  }

  #enter(): string[] {
    return [`--target=${this.pid}`, "--all", "--"];
  }

  async #must(program: string, args: readonly string[], input?: string): Promise<string> {
    const result = await this.run(program, args, input === undefined ? {} : { input });
    if (result.exitCode !== 0)
      throw new Error(`${this.name}: ${program} ${args.join(" ")} ended with ${result.exitCode}: ${result.stderr}`);
    return result.stdout;
  }

  /** Before the first boot: the disk as the provisioning server leaves it. */
  async #install(root: string): Promise<void> {
    const upper = join(this.directory, "upper");
    if (await isThere(upper)) return;
    await mkdir(join(upper, "etc"), { recursive: true });
    await mkdir(join(this.directory, "work"));
    const varLib = join(this.directory, "var-lib");
    await execa("cp", ["--archive", join(root, "var/lib"), varLib]);
    const put = async (path: string): Promise<string> => {
      const at = path.startsWith("/var/lib/") ? join(varLib, path.slice("/var/lib/".length)) : join(upper, path);
      await mkdir(dirname(at), { recursive: true });
      return at;
    };
    const files = {
      "/etc/hostname": `${this.name}\n`,
      "/etc/hosts": `127.0.0.1 localhost\n${this.address} ${this.name}\n`,
      ...this.#options.files,
    };
    for (const [path, content] of Object.entries(files)) await writeFile(await put(path), content);
    for (const [path, from] of Object.entries(this.#options.copies ?? {})) {
      await execa("cp", ["--dereference", "--preserve=mode", from, await put(path)]);
    }
  }

  /** nspawn has joined its link to the bridge. */
  async #plug(): Promise<void> {
    const ip = async (...args: string[]): Promise<unknown> =>
      execa("nsenter", [`--target=${this.pid}`, "--net", "--", "ip", ...args], { env: bedEnvironment, extendEnv: false });
    await ip("addr", "add", `${this.address}/24`, "dev", "host0");
    await ip("link", "set", "host0", "up");
    await ip("route", "add", "default", "via", this.#bed.address);
  }
}

/** nspawn's child that is pid 1 of a namespace of its own and has become systemd. */
async function machinePid(nspawn: number): Promise<number | undefined> {
  const children = (await readFile(`/proc/${nspawn}/task/${nspawn}/children`, "utf8")).trim().split(" ");
  for (const child of children.filter((pid) => pid !== "")) {
    const status = await readFile(`/proc/${child}/status`, "utf8").catch(() => "");
    if (/^Name:\tsystemd$/m.test(status) && /^NSpid:.*\t1$/m.test(status)) return Number(child);
  }
  return undefined;
}

function serviceUnit(name: string, script: string): string {
  return `[Unit]
Description=${name} of the test bed
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh ${script}
Restart=always
RestartSec=100ms

[Install]
WantedBy=multi-user.target
`;
}
