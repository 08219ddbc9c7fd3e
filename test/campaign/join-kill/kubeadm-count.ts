/** Counts the kubeadm processes of one machine, again and again: as the host sees them, by the machine's pid namespace. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const LOOK_EVERY_MS = 100;

export class KubeadmCount implements Disposable {
  readonly #namespace: string;
  readonly #timer: NodeJS.Timeout;
  #before: ReadonlySet<string> = new Set();
  #most = 0;

  /** @param pid pid 1 of the machine, as the host numbers it */
  constructor(pid: number) {
    this.#namespace = readlinkSync(`/proc/${pid}/ns/pid`);
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** The most that were seen to change the machine at the same time. */
  get most(): number {
    return this.#most;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  /** A second kubeadm would run for seconds; what is seen in one look only is a child on its way to become, or to end as, something else. */
  #look(): void {
    const now = this.#kubeadms();
    const staying = [...now].filter((pid) => this.#before.has(pid));
    this.#before = now;
    this.#most = Math.max(this.#most, staying.length);
  }

  #kubeadms(): ReadonlySet<string> {
    const parents = new Map<string, string>();
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const [program, verb] = text(`/proc/${pid}/cmdline`).split("\0");
      if (program?.endsWith("/kubeadm") !== true || (verb !== "join" && verb !== "reset")) continue;
      const parent = /^PPid:\t(\d+)$/m.exec(text(`/proc/${pid}/status`))?.[1];
      // One that is gone meanwhile does nothing any more.
      if (parent !== undefined && namespaceOf(pid) === this.#namespace) parents.set(pid, parent);
    }
    // What kubeadm starts looks like itself until it has become another program.
    return new Set([...parents].filter(([, parent]) => !parents.has(parent)).map(([pid]) => pid));
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
