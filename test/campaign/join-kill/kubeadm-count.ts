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
    let found = 0;
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const words = text(`/proc/${pid}/cmdline`).split("\0");
      if (words[0]?.endsWith("/kubeadm") !== true || (words[1] !== "join" && words[1] !== "reset")) continue;
      if (text(`/proc/${pid}/root/etc/hostname`).trim() === this.#hostname) found += 1;
    }
    return found;
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
