/** Counts the kubeadm processes of one machine, again and again: as the host sees them, by the machine's control group. */
import { readdirSync, readFileSync } from "node:fs";

const LOOK_EVERY_MS = 100;

export class KubeadmCount implements Disposable {
  readonly #hostname: string;
  readonly #timer: NodeJS.Timeout;
  #most = 0;

  constructor(hostname: string) {
    this.#hostname = hostname;
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
      return text(`/proc/${pid}/root/etc/hostname`).trim() === this.#hostname;
    });
    // What kubeadm starts looks like itself until it has become another program.
    return found.filter((pid) => !found.includes(/^PPid:\t(\d+)$/m.exec(text(`/proc/${pid}/status`))?.[1] ?? "")).length;
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
