/**
 * What the kubeadm step adds to kubeadm: wall time of the step, as the agent tells it, minus wall time of its `kubeadm join`, as /proc shows it.
 * Machines join one after the other, each bare before.
 */
import { readdirSync, readFileSync } from "node:fs";
import { JoinStage } from "../e2e/join/stage.ts";
import type { Machine } from "../testbed/machine.ts";
import { eventually } from "../testbed/program.ts";
import { median, startedAtMs } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const JOINS = 5;
const LOOK_EVERY_MS = 10;
const JOIN_MS = 300_000;

export const joinScenario: Scenario = {
  name: "join",
  summary: "wall time of the kubeadm step minus that of its kubeadm child, on booted machines and a real cluster",
  async run({ say }) {
    await using stage = await JoinStage.make({}, say);
    await stage.adopt();
    await stage.site.mustDrover(["apply", "-f", await stage.manifest("web")]);
    const overheads: number[] = [];
    const children: number[] = [];
    for (let join = 1; join <= JOINS; join += 1) {
      const name = `bench-${join}`;
      using child = new KubeadmWatch(name);
      const machine = await stage.site.addMachine(name, { role: "web" }, { kind: "full" });
      const stepMs = await eventually(`${name} has joined`, JOIN_MS, () => stepDuration(machine));
      overheads.push(stepMs - child.wallMs);
      children.push(child.wallMs);
      say(`${name}: step ${stepMs} ms, kubeadm join ${child.wallMs.toFixed(0)} ms`);
    }
    return {
      scenario: "join",
      tier: "booted machines (systemd-nspawn), real kubeadm, kubelet and API server, real NATS and gRPC over TLS",
      conditions: { joins: JOINS, kubeadmMedianMs: median(children).toFixed(0) },
      figures: [{ name: "kubeadm_step_overhead_ms", value: median(overheads), unit: "ms", limit: 1000 }],
    };
  },
};

async function stepDuration(machine: Machine): Promise<number | undefined> {
  for (const line of (await machine.serviceLog("drover-agent")).split("\n")) {
    if (!line.includes('"msg":"step ended"') || !line.includes('"step":"kubeadm"')) continue;
    const { outcome, durationMs } = JSON.parse(line.slice(line.indexOf("{"))) as { outcome: string; durationMs: number };
    if (outcome !== "changed") throw new Error(`${machine.name} did not join: ${line}`);
    return durationMs;
  }
  return undefined;
}

/** From the start of a machine's `kubeadm join`, as the kernel has it, until it is no longer there. */
class KubeadmWatch implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #pid: number | undefined;
  #startedMs = 0;
  #lastSeenMs = 0;

  constructor(hostname: string) {
    this.#timer = setInterval(() => {
      this.#pid ??= joinOf(hostname);
      if (this.#pid === undefined || !isRunning(this.#pid)) return;
      if (this.#startedMs === 0) this.#startedMs = startedAtMs(this.#pid);
      this.#lastSeenMs = Date.now();
    }, LOOK_EVERY_MS);
  }

  get wallMs(): number {
    if (this.#startedMs === 0) throw new Error("no kubeadm join was seen");
    return this.#lastSeenMs - this.#startedMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function joinOf(hostname: string): number | undefined {
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const words = textOf(`/proc/${pid}/cmdline`).split("\0");
    if (words[0]?.endsWith("/kubeadm") === true && words[1] === "join" && textOf(`/proc/${pid}/root/etc/hostname`).trim() === hostname)
      return Number(pid);
  }
  return undefined;
}

function isRunning(pid: number): boolean {
  return textOf(`/proc/${pid}/cmdline`) !== "";
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
