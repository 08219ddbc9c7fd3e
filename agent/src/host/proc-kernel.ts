/** The running kernel through /proc. Key rules (what may be set) are the sysctl step's; here only paths are kept inside /proc/sys. */
import { readFile, writeFile } from "node:fs/promises";
import type { Kernel } from "./host.ts";

const KEY = /^[A-Za-z0-9_:@-]+([./][A-Za-z0-9_:@-]+)*$/;

export class ProcKernel implements Kernel {
  readonly #proc: string;

  /** @param proc another place than /proc, for tests */
  constructor(proc = "/proc") {
    this.#proc = proc;
  }

  async readSysctl(key: string): Promise<string | undefined> {
    try {
      return (await readFile(this.#path(key), "utf8")).trim().replace(/\s+/g, " ");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return undefined;
      throw error;
    }
  }

  async writeSysctl(key: string, value: string): Promise<void> {
    if (/[\n\0]/.test(value))
      throw Object.assign(new Error(`a sysctl value is one line, not ${JSON.stringify(value)}`), { code: "EINVAL" });
    await writeFile(this.#path(key), `${value}\n`, { flag: "r+" });
  }

  async isMountPoint(path: string): Promise<boolean> {
    const mounts = await readFile(`${this.#proc}/self/mountinfo`, "utf8");
    const wanted = path.replace(/(?<=.)\/+$/, "");
    return mounts.split("\n").some((line) => unescaped(line.split(" ")[4] ?? "") === wanted);
  }

  async bootId(): Promise<string> {
    return (await readFile(`${this.#proc}/sys/kernel/random/boot_id`, "utf8")).trim();
  }

  async uptimeMs(): Promise<number> {
    const [seconds] = (await readFile(`${this.#proc}/uptime`, "utf8")).split(" ");
    return Number(seconds) * 1000;
  }

  #path(key: string): string {
    if (!KEY.test(key) || key.length > 200) throw Object.assign(new Error(`${JSON.stringify(key)} is no sysctl key`), { code: "EINVAL" });
    // As sysctl does: where dots separate, a slash stands for a dot inside a name (net.ipv4.conf.eth0/100.rp_filter).
    return `${this.#proc}/sys/${key.replace(/[./]/g, (separator) => (separator === "." ? "/" : "."))}`;
  }
}

/** mountinfo writes blanks, tabs, newlines and backslashes as octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_whole, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
