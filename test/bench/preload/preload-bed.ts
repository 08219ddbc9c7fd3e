/** Machines of the preload benchmark: equal, each with an empty containerd, and one registry that answers late. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as pause } from "node:timers/promises";
import { type Clock, systemClock } from "@drover/lifecycle";
import { ImagesSpec, type LockedImage } from "@drover/proto";
import { fakeHost, fakeStepContext, FakeStepMemory } from "../../../agent/src/fake/index.ts";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import { imagesStep } from "../../../agent/src/steps/images/images-step.ts";
import { Bed } from "../../testbed/bed.ts";
import type { LightMachine } from "../../testbed/light/light-machine.ts";
import { eventually } from "../../testbed/program.ts";

export type BenchImage = Pick<LockedImage, "name" | "digest" | "sizeBytes">;

const nodeProgram = fileURLToPath(new URL("../../../node_modules/.bin/node", import.meta.url));
const slowRegistryMain = fileURLToPath(new URL("./slow-registry-main.ts", import.meta.url));
const PORT = 5000;
const POLL_MS = 25;
const ROUND_MS = 600_000;
const HOSTS = "/etc/containerd/certs.d";
const CLOCK: Clock = systemClock;

export class PreloadBed implements AsyncDisposable {
  readonly images: readonly BenchImage[];
  readonly #bed: Bed;
  #count = 0;

  private constructor(bed: Bed, images: readonly BenchImage[]) {
    this.#bed = bed;
    this.images = images;
  }

  /** @param wanted "repository:tag=bytes/layers" for each image */
  static async make(wanted: readonly string[], delayMs: number): Promise<PreloadBed> {
    const bed = await Bed.make();
    try {
      const args = [slowRegistryMain, bed.address, String(PORT), String(delayMs), ...wanted];
      // What it keeps goes with the bed.
      const program = await bed.spawn(nodeProgram, args, join(bed.directory, "slow-registry.log"), { TMPDIR: bed.directory });
      let hasEnded = false;
      void program.ended.then(() => {
        hasEnded = true;
      });
      const printed = await eventually("the images are made and pushed", ROUND_MS, async () => {
        const log = await program.log();
        if (hasEnded) throw new Error(`the registry ended: ${log}`);
        return log.endsWith("]\n") && log;
      });
      return new PreloadBed(bed, JSON.parse(printed) as readonly BenchImage[]);
    } catch (error) {
      await bed[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Gone again, with what it held, when the work is done. */
  async withMachine<T>(work: (machine: PreloadMachine) => Promise<T>): Promise<T> {
    const machine = await this.#bed.addLightMachine(`preload-${++this.#count}`);
    await machine.writeFile("/etc/containerd/config.toml", containerdConfig);
    const hosts = `[host."http://${this.#bed.address}:${PORT}"]\n  capabilities = ["pull", "resolve"]\n`;
    await machine.writeFile(`${HOSTS}/registry.example/hosts.toml`, hosts);
    await machine.addService("containerd", "exec /usr/bin/containerd\n");
    const preload = new PreloadMachine(machine);
    try {
      await preload.criReady();
      // What the measurement before has left to be written would slow down this one.
      await preload.settle();
      return await work(preload);
    } finally {
      preload.close();
      await machine.powerCut();
      await rm(machine.directory, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bed[Symbol.asyncDispose]();
  }
}

export class PreloadMachine {
  readonly #machine: LightMachine;
  readonly #client: ContainerdClient;
  readonly #signal = AbortSignal.timeout(ROUND_MS);

  constructor(machine: LightMachine) {
    this.#machine = machine;
    this.#client = new ContainerdClient({ socketPath: `/proc/${machine.pid}/root/run/containerd/containerd.sock` });
  }

  async criReady(): Promise<void> {
    await eventually("CRI is served", 30_000, async () => (await this.#client.criStatus(this.#signal)).isReady);
  }

  /** Nothing waits to be written any more. */
  async settle(): Promise<void> {
    await this.#must("sync", []);
  }

  version(): Promise<string> {
    return this.#client.version(this.#signal);
  }

  /**
   * Our images step with its own limits, from looking to having read back.
   * @param until the images that are waited for; the step goes on with others
   * @returns milliseconds until CRI listed those, and until the step had ended
   */
  async preload(images: readonly BenchImage[], until: readonly BenchImage[] = images) {
    // Only what it asks of containerd is real here; it asks nothing else of the machine but free bytes.
    const host = { ...fakeHost(), containerd: this.#client };
    const context = { ...fakeStepContext(host, { clock: CLOCK, memory: new FakeStepMemory() }), signal: this.#signal };
    const spec = ImagesSpec.fromPartial({ images: images.map((image) => ({ ...image, pinned: true })) });
    const startedAt = performance.now();
    const whole = (async () => {
      const observed = await imagesStep.observe(spec, context);
      await imagesStep.apply(spec, imagesStep.diff(spec, observed), context);
      const left = imagesStep.diff(spec, await imagesStep.observe(spec, context));
      if (left.length > 0) throw new Error(`not in sync: ${left.map(({ path }) => path).join(", ")}`);
      return performance.now() - startedAt;
    })();
    const listing = this.#listed(until.map(({ name }) => name)).then(() => performance.now() - startedAt);
    const [wholeMs, listedMs] = await Promise.all([whole, listing]);
    return { listedMs, wholeMs };
  }

  /** `ctr images pull` for one after the other, in one shell. @returns how long all of it took */
  async ctrPulls(images: readonly BenchImage[]): Promise<number> {
    const script = `for name in "$@"; do ctr -n k8s.io images pull --hosts-dir ${HOSTS} "$name" > /dev/null || exit 1; done`;
    const startedAt = performance.now();
    await this.#must("sh", ["-c", script, "sh", ...images.map(({ name }) => name)]);
    return performance.now() - startedAt;
  }

  /** All of its bytes, and nothing of it unpacked. */
  async fetchContent({ name }: BenchImage): Promise<void> {
    await this.#must("ctr", ["-n", "k8s.io", "content", "fetch", "--hosts-dir", HOSTS, name]);
  }

  /** As the kubelet pulls for a pod. @returns when its unpacking has begun, with what ends with it: at performance.now() */
  async pullUntilUnpacking({ name, digest }: BenchImage): Promise<{ readonly unpackedAt: Promise<number> }> {
    const reference = `${name.slice(0, name.lastIndexOf(":"))}@${digest}`;
    let hasEnded = false;
    const unpackedAt = this.#client
      .pull(reference, () => {}, this.#signal)
      .then(() => {
        hasEnded = true;
        return performance.now();
      });
    unpackedAt.catch(() => {});
    await eventually("a layer is being unpacked", 60_000, async () => {
      if (hasEnded) throw new Error(`${name} was unpacked before that could be seen`);
      return (await this.#must("ctr", ["-n", "k8s.io", "snapshots", "list"])).includes("extract-");
    });
    return { unpackedAt };
  }

  close(): void {
    this.#client.close();
  }

  async #listed(names: readonly string[]): Promise<void> {
    for (;;) {
      const there = new Set((await this.#client.listCriImages(this.#signal)).flatMap((image) => image.repoTags));
      if (names.every((name) => there.has(name))) return;
      await pause(POLL_MS, undefined, { signal: this.#signal });
    }
  }

  async #must(program: string, args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#machine.run(program, args, { timeoutMs: ROUND_MS });
    if (exitCode !== 0) throw new Error(`${program} ${args.slice(0, 4).join(" ")} ended with ${exitCode}: ${stderr}`);
    return stdout;
  }
}

const containerdConfig = `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "${HOSTS}"
`;
