/** Kills and deletions under a rollout and a stream of reports: nothing acknowledged is lost, and everything converges unaided. */
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Random, seededRandom } from "@drover/lifecycle";
import { dataFiles } from "../../coordinator/src/data-files.ts";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";
import type { Campaign, CampaignResult } from "./campaign.ts";
import {
  ackedSoFar,
  askLoad,
  type Excused,
  type JoinToken,
  type LoadNodeState,
  logged,
  missing,
  nothingExcused,
} from "./coordinator-kill-count.ts";
import { type Fault, faults, inject, losesReportLog, nodeConnections, pause } from "./coordinator-kill-faults.ts";

const LOAD_NODES = 8;
const LONGEST_WAIT_MS = 5_000;
const CONVERGE_MS = 120_000;
const loadProgram = new URL("./coordinator-kill-load.ts", import.meta.url).pathname;
const apiVersion = "drover.dev/v1alpha1";

export const coordinatorKill: Campaign = {
  name: "coordinator-kill",
  summary:
    "kill -9 of coordinator and NATS, loss of their data, under a rollout: every acknowledged report is logged once, all ends in sync",
  fullCount: 40,
  async run({ count, seed, say }): Promise<CampaignResult> {
    const random = seededRandom(seed);
    let scene: Scene | undefined;
    let passed = 0;
    let order: Fault[] = [];
    for (let number = 1; number <= count; number += 1) {
      if (order.length === 0) order = shuffled(faults, random);
      const fault = order.pop()!;
      const startedAt = performance.now();
      let failures: readonly string[];
      try {
        scene ??= await Scene.make();
        failures = await scene.oneCase(number, fault, random);
      } catch (error) {
        failures = [(error as Error).message];
      }
      if (failures.length === 0) {
        passed += 1;
        say(`case ${number}: ${fault}: held, ${((performance.now() - startedAt) / 1000).toFixed(1)} s; ${scene!.figures}`);
        continue;
      }
      for (const failure of failures) say(`case ${number}: ${fault}: FAILED: ${failure}`);
      // What is broken now says nothing about the next fault.
      if (scene !== undefined) say(`case ${number}: logs are in ${await scene.keepLogs(`${seed}-${number}`)}`);
      await scene?.[Symbol.asyncDispose]();
      scene = undefined;
    }
    await scene?.[Symbol.asyncDispose]();
    return { passed, failed: count - passed };
  },
};

/** A site with two machines that carry out plans and some nodes that only report. */
class Scene implements AsyncDisposable {
  figures = "";
  readonly #site: Site;
  readonly #loadDirectory: string;
  #machines: readonly LightMachine[] = [];
  #excused: Excused = nothingExcused;

  private constructor(site: Site) {
    this.#site = site;
    this.#loadDirectory = join(site.bed.directory, "load");
  }

  static async make(): Promise<Scene> {
    const site = await Site.make({ intervals: { poll: "10s", driftScan: "1h" } });
    const scene = new Scene(site);
    try {
      await site.startRegistry();
      scene.#machines = await Promise.all(["web-1", "web-2"].map((name) => site.addMachine(name, { role: "web" })));
      await scene.#startLoad();
      await eventually("the machines are known", 60_000, async () => {
        const names = (await site.mustDrover(["get", "nodes", "-l", "role=web", "-o", "name"])).trim().split("\n");
        return names.length === scene.#machines.length;
      });
      const set = { selector: { matchLabels: { role: "web" } }, profile: "web", strategy: { maxUnavailable: 1 } };
      await scene.#apply(0);
      await site.mustDrover([
        "apply",
        "-f",
        await site.manifest("set", { apiVersion, kind: "NodeSet", metadata: { name: "web" }, spec: set }),
      ]);
      await scene.#converged(0);
      return scene;
    } catch (error) {
      await scene[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @returns what did not hold */
  async oneCase(number: number, fault: Fault, random: Random): Promise<readonly string[]> {
    const site = this.#site;
    const failures: string[] = [];
    const load = await askLoad(this.#loadDirectory, "/resume");
    const nodeIds = await this.#nodeIds();
    await this.#connected(nodeIds);
    await this.#apply(number);
    await pause(random.unit() * LONGEST_WAIT_MS);
    const before = await nodeConnections(site, nodeIds);
    await inject(site, fault, random, async () => {
      if (losesReportLog(fault)) await this.#excuse();
    });
    const { pid } = site.coordinator;
    await this.#converged(number);
    if (fault === "coordinator killed" || fault === "coordinator killed, report log deleted") {
      const after = await nodeConnections(site, nodeIds);
      for (const [name, connection] of before) {
        if (after.get(name) !== connection)
          failures.push(`${name} had NATS connection ${connection}, has ${after.get(name) ?? "none"} after the kill`);
      }
      if (before.size !== nodeIds.size) failures.push(`${before.size} of ${nodeIds.size} nodes were connected before the kill`);
    }
    const ended = await this.#drained();
    failures.push(...(await this.#counted(ended)));
    failures.push(...(await this.#alarms()));
    const hasEnded = await Promise.race([site.coordinator.ended, pause(0).then(() => undefined)]);
    if (hasEnded !== undefined) failures.push(`the coordinator (pid ${pid}) ended by itself: ${hasEnded}`);
    const written = ended.reduce((sum, { written }, index) => sum + written - load[index]!.written, 0);
    this.figures = `${written} events; ${this.figures}`;
    return failures;
  }

  async keepLogs(name: string): Promise<string> {
    const directory = join(tmpdir(), `drover-coordinator-kill-${name}`);
    await mkdir(directory, { recursive: true });
    const logs = [
      ["coordinator.log", this.#site.coordinatorLogFile],
      ["nats.log", join(dataFiles(this.#site.dataDirectory).nats, "nats.log")],
      ["load.log", join(this.#loadDirectory, "log")],
      ["acks", join(this.#loadDirectory, "acks")],
      ...this.#machines.map((machine) => [`${machine.name}.log`, join(machine.directory, "drover-agent.log")] as const),
    ] as const;
    for (const [file, path] of logs) await copyFile(path, join(directory, file)).catch(() => undefined);
    return directory;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#site[Symbol.asyncDispose]();
  }

  async #startLoad(): Promise<void> {
    const site = this.#site;
    await mkdir(this.#loadDirectory);
    const tokens = await Promise.all(
      Array.from({ length: LOAD_NODES }, async () => {
        const made = await site.mustDrover(["token", "create", "-o", "json", "--label", "role=load"]);
        return JSON.parse(made) as JoinToken;
      }),
    );
    await writeFile(join(this.#loadDirectory, "tokens.json"), JSON.stringify(tokens), { mode: 0o600 });
    await writeFile(join(this.#loadDirectory, "acks"), "");
    const program = await site.bed.spawn(nodeProgram, [loadProgram, this.#loadDirectory], join(this.#loadDirectory, "log"));
    let hasEnded = false;
    void program.ended.then(() => {
      hasEnded = true;
    });
    await eventually("the load answers", 60_000, async () => hasEnded || (await askLoad(this.#loadDirectory, "/state")).length > 0);
    if (hasEnded) throw new Error(`the load ended: ${await program.log()}`);
  }

  /** A profile and lock that differ from those before in all three steps. */
  async #apply(number: number): Promise<void> {
    const site = this.#site;
    const images = await site.pushImages({ [imageOf(number)]: 400_000 });
    const profile = {
      sysctl: { values: { "net.core.somaxconn": somaxconnOf(number) } },
      containerd: {
        maxConcurrentDownloads: downloadsOf(number),
        registries: [{ host: "registry.example", mirrors: [{ url: `http://${site.registry}` }] }],
      },
      images: { lock: "web-images" },
    };
    const manifest = await site.manifest(
      "profile",
      { apiVersion, kind: "NodeProfile", metadata: { name: "web" }, spec: profile },
      { apiVersion, kind: "ImageLock", metadata: { name: "web-images" }, spec: { images } },
    );
    await site.mustDrover(["apply", "-f", manifest]);
  }

  /** All rollouts are complete, and the machines are what the profile says. */
  async #converged(number: number): Promise<void> {
    const site = this.#site;
    await eventually("all rollouts are complete", CONVERGE_MS, async () => {
      const { items } = JSON.parse(await site.mustDrover(["get", "rollouts", "-o", "json"])) as { items: { status?: { phase: string } }[] };
      return items.length > 0 && items.every(({ status }) => status?.phase === "Complete" || status?.phase === "Superseded");
    });
    await eventually("all machines are in sync", CONVERGE_MS, async () => {
      const { items } = JSON.parse(await site.mustDrover(["get", "nodes", "-l", "role=web", "-o", "json"])) as {
        items: { status?: { phase?: string } }[];
      };
      return items.length === this.#machines.length && items.every(({ status }) => status?.phase === "InSync");
    });
    for (const machine of this.#machines) {
      const somaxconn = (await machine.readFile("/proc/sys/net/core/somaxconn")).trim();
      if (somaxconn !== somaxconnOf(number)) throw new Error(`${machine.name}: somaxconn is ${somaxconn}, not ${somaxconnOf(number)}`);
      const dump = (await machine.run("containerd", ["config", "dump"])).stdout;
      if (!dump.includes(`max_concurrent_downloads = ${downloadsOf(number)}`))
        throw new Error(`${machine.name}: containerd's configuration has not max_concurrent_downloads = ${downloadsOf(number)}`);
      const listed = (await machine.run("ctr", ["-n", "k8s.io", "images", "list", "-q"])).stdout;
      if (!listed.split("\n").includes(imageOf(number))) throw new Error(`${machine.name}: ${imageOf(number)} is not there`);
    }
  }

  async #nodeIds(): Promise<ReadonlySet<string>> {
    const { items } = JSON.parse(await this.#site.mustDrover(["get", "nodes", "-o", "json"])) as { items: { metadata: { uid: string } }[] };
    return new Set(items.map(({ metadata }) => metadata.uid));
  }

  async #connected(nodeIds: ReadonlySet<string>): Promise<void> {
    await eventually(
      "all nodes are connected to NATS",
      60_000,
      async () => (await nodeConnections(this.#site, nodeIds)).size === nodeIds.size,
    );
  }

  /** The load makes no more events, and all it made is acknowledged. */
  async #drained(): Promise<readonly LoadNodeState[]> {
    await askLoad(this.#loadDirectory, "/pause");
    return eventually("all reports are acknowledged", CONVERGE_MS, async () => {
      const states = await askLoad(this.#loadDirectory, "/state");
      return states.every(({ unacknowledged }) => unacknowledged === 0) && states;
    });
  }

  async #counted(load: readonly LoadNodeState[]): Promise<readonly string[]> {
    const acked = await ackedSoFar(this.#loadDirectory);
    const log = await logged(dataFiles(this.#site.dataDirectory).reportLog);
    const batches = [...log.seqs.values()].reduce((sum, seqs) => sum + seqs.size, 0);
    const of = [...acked.values()].reduce((sum, seq) => sum + seq, 0);
    this.figures = `log has ${batches} batches of ${log.seqs.size} outboxes, the load has acks for ${of}`;
    return missing(log, acked, load, this.#excused);
  }

  async #excuse(): Promise<void> {
    // What the coordinator sent before it died may still be on its way.
    await pause(200);
    const acked = await ackedSoFar(this.#loadDirectory);
    const load = await askLoad(this.#loadDirectory, "/state");
    const log = await logged(dataFiles(this.#site.dataDirectory).reportLog);
    const outboxes = new Set([...this.#excused.outboxes, ...log.seqs.keys(), ...acked.keys()]);
    this.#excused = { acked, outboxes, events: new Map(load.map(({ nodeId, written }) => [nodeId, written])) };
  }

  /** Whatever befalls the coordinator, no node may look like two. */
  async #alarms(): Promise<readonly string[]> {
    const audit = await this.#site.mustDrover(["audit", "--limit", "200"]);
    return audit.split("\n").filter((line) => /CloneSuspected|ReportRefused|RestoredFromBackup/.test(line));
  }
}

const somaxconnOf = (number: number): string => String(4096 + number);
const downloadsOf = (number: number): number => 3 + (number % 5);
const imageOf = (number: number): string => `registry.example/web/app:${number}`;

function shuffled<T>(values: readonly T[], random: Random): T[] {
  return values
    .map((value) => ({ value, at: random.unit() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value);
}
