/**
 * Our rollout against Ansible's playbook: the same changes to the same 20 machines, ten at once in both. Wall time is from the operator's command to
 * the end that the tool itself tells; CPU is of what controls: ansible-playbook with its children here, coordinator and NATS there (what the
 * operator's two CLI calls cost, apply and rollout status, is told beside it). What was changed is read back on every machine after each run.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { LightMachine } from "../../testbed/light/light-machine.ts";
import { eventually } from "../../testbed/program.ts";
import { Site } from "../../testbed/site.ts";
import { agentExecutable } from "../../testbed/roots/agent-executable.ts";
import { cpuOf, median } from "../process-cost.ts";
import type { Figure, Scenario } from "../scenario.ts";
import { AnsiblePeer, type Cost, timed } from "./peer.ts";
import { containerdPlaybook, sysctlPlaybook } from "./playbooks.ts";

const MACHINES = 20;
const AT_ONCE = 10;
const ROUNDS = 3;
const IMAGES = 3;
const IMAGE_BYTES = 200_000;
const CONVERGED_MS = 300_000;

export const ansibleScenario: Scenario = {
  name: "ansible",
  summary: "a rollout against ansible-playbook on the same 20 machines: wall time, and CPU of what controls",
  async run({ say }) {
    await using site = await Site.make({ agent: [await agentExecutable()] });
    await site.startRegistry();
    const peer = await AnsiblePeer.make(site);
    say(`${MACHINES} machines boot, enrol and get an SSH server`);
    const machines: LightMachine[] = [];
    for (let index = 1; index <= MACHINES; index += 1) {
      const machine = await site.addMachine(`m${String(index).padStart(2, "0")}`, { role: "bench" });
      await peer.admit(machine);
      machines.push(machine);
    }
    await peer.begin(machines);
    const ours = new OurSide(site);
    await ours.roll({}, 0);
    const sysctl = await rounds("sysctl", say, {
      theirs: async (round) => {
        const cost = await peer.play(`sysctl-${round}`, sysctlPlaybook(valuesOf("theirs", round)));
        await mustHave(machines, valuesOf("theirs", round));
        return cost;
      },
      ours: async (round) => {
        const cost = await ours.roll({ sysctl: { values: valuesOf("ours", round) } }, round);
        await mustHave(machines, valuesOf("ours", round));
        return cost;
      },
    });
    const containerd = await rounds("containerd and images", say, {
      theirs: async (round) => {
        const images = await site.pushImages(imagesOf("theirs", round));
        const names = images.map(({ name }) => name.replace(/^registry\.example/, site.registry));
        const cost = await peer.play(`containerd-${round}`, containerdPlaybook(configOf(round), names));
        await mustHold(machines, names);
        return cost;
      },
      ours: async (round) => {
        const images = await site.pushImages(imagesOf("ours", round));
        const cost = await ours.roll({ containerd: sectionOf(site, round), images: { images } }, 100 + round);
        await mustHold(
          machines,
          images.map(({ name }) => name),
        );
        return cost;
      },
    });
    return {
      scenario: "ansible",
      tier: "20 real machines (namespaces), real containerd, real SSH, real NATS and gRPC over TLS",
      conditions: {
        ansible: /core ([\d.]+)/.exec((await site.bed.run("ansible", ["--version"])).stdout)?.[1] ?? "unknown",
        machines: MACHINES,
        atOnce: AT_ONCE,
        rounds: ROUNDS,
        pipelining: "on",
        gatherFacts: "off",
        images: `${IMAGES} x ${IMAGE_BYTES / 1000} KB`,
        ...told("sysctl", sysctl),
        ...told("containerd", containerd),
      },
      figures: [...figures("sysctl", sysctl, 5), ...figures("containerd", containerd, 1)],
    };
  },
};

interface Pair {
  readonly theirs: Cost;
  readonly ours: Cost;
}

async function rounds(
  what: string,
  say: (line: string) => void,
  { theirs, ours }: { readonly theirs: (round: number) => Promise<Cost>; readonly ours: (round: number) => Promise<Cost> },
): Promise<readonly Pair[]> {
  const shown = ({ wallMs, cpuMs, clientCpuMs }: Cost): string =>
    `${(wallMs / 1000).toFixed(2)} s, ${(cpuMs / 1000).toFixed(2)} s CPU${clientCpuMs === undefined ? "" : ` and ${(clientCpuMs / 1000).toFixed(2)} s of the CLI`}`;
  const pairs: Pair[] = [];
  // All of theirs first: containerd's file is then ours for good.
  const theirCosts: Cost[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) theirCosts.push(await theirs(round));
  for (const [index, cost] of theirCosts.entries()) {
    const pair = { theirs: cost, ours: await ours(index + 1) };
    pairs.push(pair);
    say(`${what}, round ${index + 1} of ${ROUNDS}: ansible ${shown(pair.theirs)}; drover ${shown(pair.ours)}`);
  }
  return pairs;
}

function figures(name: string, pairs: readonly Pair[], atLeast: number): Figure[] {
  const ratio = (value: (cost: Cost) => number): number =>
    median(pairs.map(({ theirs }) => value(theirs))) / median(pairs.map(({ ours }) => value(ours)));
  return [
    { name: `ansible_${name}_wall_ratio`, value: ratio(({ wallMs }) => wallMs), unit: "x", limit: atLeast, isFloor: true, peer: "ansible" },
    { name: `ansible_${name}_cpu_ratio`, value: ratio(({ cpuMs }) => cpuMs), unit: "x", limit: 10, isFloor: true, peer: "ansible" },
  ];
}

function told(name: string, pairs: readonly Pair[]): Record<string, string> {
  const both = (value: (cost: Cost) => number): string =>
    [pairs.map(({ theirs }) => value(theirs)), pairs.map(({ ours }) => value(ours))].map((values) => median(values).toFixed(0)).join(" / ");
  return {
    [`${name}WallMs`]: both(({ wallMs }) => wallMs),
    [`${name}CpuMs`]: both(({ cpuMs }) => cpuMs),
    [`${name}OurCliCpuMs`]: median(pairs.map(({ ours }) => ours.clientCpuMs ?? 0)).toFixed(0),
  };
}

class OurSide {
  readonly #site: Site;
  #rollout = 0;

  constructor(site: Site) {
    this.#site = site;
  }

  /** Applies a profile with these sections, and waits as an operator would. */
  async roll(sections: object, round: number): Promise<Cost> {
    const manifest = await this.#site.manifest(
      `round-${round}`,
      { apiVersion: "drover.dev/v1alpha1", kind: "NodeProfile", metadata: { name: "bench" }, spec: { ...this.#kept, ...sections } },
      {
        apiVersion: "drover.dev/v1alpha1",
        kind: "NodeSet",
        metadata: { name: "bench" },
        spec: { selector: { matchLabels: { role: "bench" } }, profile: "bench", strategy: { maxUnavailable: AT_ONCE } },
      },
    );
    this.#kept = { ...this.#kept, ...sections };
    this.#rollout += 1;
    const rollout = `bench-${this.#rollout}`;
    const before = this.#controllerCpuMs();
    const applied = await timed(this.#site, [...this.#cli, "apply", "-f", manifest], this.#env);
    const followed = await timed(this.#site, [...this.#cli, "rollout", "status", rollout, "--timeout", "5m"], this.#env);
    const after = this.#controllerCpuMs();
    return { wallMs: applied.wallMs + followed.wallMs, cpuMs: after - before, clientCpuMs: applied.cpuMs + followed.cpuMs };
  }

  #kept: object = {};

  get #cli(): readonly string[] {
    return this.#site.cliCommand.slice(this.#site.cliCommand.indexOf("env") + 2);
  }

  get #env(): NodeJS.ProcessEnv {
    return { DROVER_CONFIG: this.#site.contextFile };
  }

  /** Of the coordinator and of the NATS server that is its child. */
  #controllerCpuMs(): number {
    const { pid } = this.#site.coordinator;
    return [pid, ...childrenOf(pid)].reduce((sum, each) => sum + cpuOf(each).ownMs, 0);
  }
}

function childrenOf(parent: number): readonly number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const text = readFileSync(`/proc/${name}/stat`, "utf8");
      return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]) === parent ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/** Keys of a network namespace; each side has its own, so that neither sees the other's as drift. */
function valuesOf(side: "theirs" | "ours", round: number): Record<string, string> {
  const keys = {
    theirs: ["net.core.somaxconn", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_fin_timeout"],
    ours: ["net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_syn_retries", "net.ipv4.tcp_orphan_retries"],
  }[side];
  const base = { theirs: [4096, 600, 5, 20], ours: [4096, 20, 4, 2] }[side];
  return Object.fromEntries(keys.map((key, index) => [key, String(base[index]! + round)]));
}

function imagesOf(side: string, round: number): Record<string, number> {
  return Object.fromEntries(
    Array.from({ length: IMAGES }, (_, index) => [`registry.example/${side}/app-${index + 1}:r${round}`, IMAGE_BYTES]),
  );
}

function configOf(round: number): string {
  return `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  # ${round}
  ignore_rdt_not_enabled_errors = ${round % 2 === 0}
`;
}

function sectionOf(site: Site, round: number): object {
  return {
    maxConcurrentDownloads: 3 + round,
    registries: [{ host: "registry.example", mirrors: [{ url: `http://${site.registry}` }] }],
  };
}

async function mustHave(machines: readonly LightMachine[], values: Readonly<Record<string, string>>): Promise<void> {
  for (const machine of machines) {
    for (const [key, value] of Object.entries(values)) {
      const found = (await machine.readFile(`/proc/sys/${key.replaceAll(".", "/")}`)).trim();
      if (found !== value) throw new Error(`${machine.name}: ${key} is ${found}, not ${value}`);
    }
  }
}

async function mustHold(machines: readonly LightMachine[], images: readonly string[]): Promise<void> {
  for (const machine of machines) {
    await eventually(`${machine.name} has its images`, CONVERGED_MS, async () => {
      const { stdout } = await machine.run("ctr", ["--namespace", "k8s.io", "images", "list", "--quiet"]);
      return images.every((image) => stdout.split("\n").includes(image));
    });
  }
}
