/** Counts the kubeadm processes of one machine, again and again: as the host sees them, by the machine's pid namespace. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const LOOK_EVERY_MS = 100;

export class KubeadmCount implements Disposable {
  readonly #namespace: string;
  readonly #timer: NodeJS.Timeout;
  #most = 0;

  /** @param pid pid 1 of the machine, as the host numbers it */
  constructor(pid: number) {
    this.#namespace = readlinkSync(`/proc/${pid}/ns/pid`);
    this.#timer = setInterval(() => {
      this.#most = Math.max(this.#most, this.#count());
    }, LOOK_EVERY_MS);
  }

  /** The most that were seen to change the machine at the same time. */
  get most(): number {
    return this.#most;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #count(): number {
    const found = readdirSync("/proc").filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      const [program, verb] = text(`/proc/${pid}/cmdline`).split("\0");
      if (program?.endsWith("/kubeadm") !== true || (verb !== "join" && verb !== "reset")) return false;
      return namespaceOf(pid) === this.#namespace;
    });
    // What kubeadm starts looks like itself until it has become another program.
    return found.filter((pid) => !found.includes(/^PPid:\t(\d+)$/m.exec(text(`/proc/${pid}/status`))?.[1] ?? "")).length;
  }
}

function namespaceOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return "";
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
