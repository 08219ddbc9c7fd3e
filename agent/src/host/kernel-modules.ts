/**
 * Modules of the running kernel: what is there by /proc, /sys and modules.builtin, what is not by modprobe. A built-in
 * without parameters shows in none of these where /lib/modules is missing (containers, small kernels): its witnesses do.
 */
import { access, readFile } from "node:fs/promises";
import type { CommandResult, Commands } from "./host.ts";
import { ModuleFailed, type ModulePresence, type Modules } from "./module-port.ts";

const MODPROBES = ["/usr/sbin/modprobe", "/sbin/modprobe", "/usr/bin/modprobe", "/bin/modprobe"];
const LOAD_TIMEOUT_MS = 60_000;
const ASK_TIMEOUT_MS = 15_000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,55}$/;

/** What exists under /proc when the module does its work; file systems, misc devices and x_tables' parts are looked up by name. */
const WITNESSES: Readonly<Record<string, string>> = {
  br_netfilter: "sys/net/bridge",
  nf_conntrack: "sys/net/netfilter/nf_conntrack_max",
  ip_tables: "net/ip_tables_names",
  ip6_tables: "net/ip6_tables_names",
  x_tables: "net/ip_tables_names",
  ip_vs: "net/ip_vs",
  sctp: "net/sctp",
  dm_mod: "misc#device-mapper",
};

export class KernelModules implements Modules {
  readonly #commands: Commands;
  readonly #root: string;
  readonly #resolved = new Map<string, readonly string[]>();

  /** @param root another place than / for proc, sys and lib, for tests */
  constructor(commands: Commands, root = "") {
    this.#commands = commands;
    this.#root = root;
  }

  async presence(name: string, signal: AbortSignal): Promise<ModulePresence | undefined> {
    const wanted = canonical(checked(name));
    const direct = await this.#presenceOf(wanted);
    if (direct !== undefined) return direct;
    for (const real of await this.#realNames(name, signal)) {
      if (real === wanted) continue;
      const presence = await this.#presenceOf(real);
      if (presence !== undefined) return presence;
    }
    return undefined;
  }

  async load(name: string, signal: AbortSignal): Promise<void> {
    const program = await this.#commands.find(MODPROBES);
    if (program === undefined) throw new ModuleFailed("ModuleNotFound", `${name}: there is no modprobe on this machine: install kmod`);
    const { exitCode, timedOut, stderr } = await this.#commands.run({ program, args: [checked(name)], timeoutMs: LOAD_TIMEOUT_MS }, signal);
    if (exitCode === 0) return;
    const release = await this.#release();
    const directory = `/lib/modules/${release}`;
    if (!(await this.#exists(directory))) {
      const why = `there is no ${directory}: the modules of the running kernel are not on this disk`;
      const what = `install its package (linux-image-${release}), or reboot when the kernel was upgraded`;
      throw new ModuleFailed("ModuleNotFound", `${name}: ${why}; ${what}`);
    }
    const known = await this.#commands.run({ program, args: ["--show-depends", name], timeoutMs: ASK_TIMEOUT_MS }, signal);
    if (known.exitCode !== 0) {
      const what = `some systems keep rare modules in a package of their own (linux-modules-extra-${release})`;
      throw new ModuleFailed("ModuleNotFound", `${name}: the kernel ${release} has no such module in ${directory}; ${what}`);
    }
    const how = timedOut ? `took longer than ${LOAD_TIMEOUT_MS} ms` : `ended with ${exitCode}`;
    throw new ModuleFailed("ModuleRejected", `${name}: modprobe ${how}: ${stderr.trim().slice(-500) || "it says nothing"}`);
  }

  async #presenceOf(name: string): Promise<ModulePresence | undefined> {
    const loaded = (await this.#text("proc/modules")).split("\n").map((line) => line.split(" "));
    if (loaded.some(([each, , , , state]) => each === name && state !== "Unloading")) return "loaded";
    if (await this.#exists(`/sys/module/${name}`)) return "builtin";
    const builtins = await this.#text(`lib/modules/${await this.#release()}/modules.builtin`);
    if (builtins.split("\n").some((line) => canonical(line.slice(line.lastIndexOf("/") + 1).replace(/\.ko.*$/, "")) === name))
      return "builtin";
    return (await this.#isWitnessed(name)) ? "builtin" : undefined;
  }

  async #isWitnessed(name: string): Promise<boolean> {
    const witness = WITNESSES[name];
    const misc = lastWords(await this.#text("proc/misc"));
    if (witness?.startsWith("misc#")) return misc.includes(witness.slice("misc#".length));
    if (witness !== undefined) return this.#exists(`/proc/${witness}`);
    if (lastWords(await this.#text("proc/filesystems")).includes(name)) return true;
    if (misc.some((each) => canonical(each) === name)) return true;
    if (!name.startsWith("xt_")) return false;
    const parts = `${await this.#text("proc/net/ip_tables_matches")}\n${await this.#text("proc/net/ip_tables_targets")}`.split("\n");
    return parts.includes(name.slice("xt_".length));
  }

  /** What an alias stands for; asked once, since it changes with the kernel only. */
  async #realNames(name: string, signal: AbortSignal): Promise<readonly string[]> {
    const known = this.#resolved.get(name);
    if (known !== undefined) return known;
    const program = await this.#commands.find(MODPROBES);
    if (program === undefined) return [];
    const result: CommandResult = await this.#commands.run({ program, args: ["--resolve-alias", name], timeoutMs: ASK_TIMEOUT_MS }, signal);
    if (result.exitCode !== 0) return [];
    const names = result.stdout
      .split("\n")
      .map(canonical)
      .filter((each) => NAME.test(each));
    this.#resolved.set(name, names);
    return names;
  }

  async #release(): Promise<string> {
    return (await this.#text("proc/sys/kernel/osrelease")).trim();
  }

  /** Empty when absent. */
  async #text(path: string): Promise<string> {
    try {
      return await readFile(`${this.#root}/${path}`, "utf8");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return "";
      throw error;
    }
  }

  async #exists(path: string): Promise<boolean> {
    return access(`${this.#root}${path}`).then(
      () => true,
      () => false,
    );
  }
}

function canonical(name: string): string {
  return name.trim().replaceAll("-", "_");
}

function checked(name: string): string {
  if (!NAME.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of a kernel module`);
  return name;
}

function lastWords(text: string): readonly string[] {
  return text.split("\n").map((line) => line.trim().split(/\s+/).at(-1) ?? "");
}
