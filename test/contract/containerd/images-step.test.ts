import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@drover/lifecycle";
import { ImagesSpec } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fakeHost, fakeStepContext, FakeStepMemory } from "../../../agent/src/fake/index.ts";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import type { Host } from "../../../agent/src/host/host.ts";
import { imagesStep } from "../../../agent/src/steps/images/images-step.ts";
import {
  type RunningContainerd,
  type RunningMirror,
  type RunningRegistry,
  startContainerd,
  startMirror,
  startRegistry,
} from "../../support/containerd/index.ts";
import { type BuiltImage, makeImage, pushImage, writeOciArchive } from "../../support/images/index.ts";
import { eventually } from "../../testbed/program.ts";

const MIB = 2 ** 20;

describe("the images step on a real containerd", () => {
  let registry: RunningRegistry;
  let mirrors: readonly RunningMirror[];
  let containerd: RunningContainerd;
  let client: ContainerdClient;
  let host: Host;
  let memory: FakeStepMemory;
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "drover-archives-"));
    registry = await startRegistry();
    mirrors = [await startMirror(registry.url), await startMirror(registry.url)];
    containerd = await startContainerd({ mirrors: { "a.test": [mirrors[0]!.url], "b.test": [mirrors[1]!.url] } });
    client = new ContainerdClient({ socketPath: containerd.socketPath });
    // Only what it asks of containerd is real here; it asks nothing else of the machine but free bytes.
    host = { ...fakeHost(), containerd: client };
    memory = new FakeStepMemory();
  });

  afterEach(async () => {
    client?.close();
    await containerd?.stop();
    for (const mirror of mirrors ?? []) await mirror.stop();
    await registry?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const context = () => fakeStepContext(host, { clock: systemClock, memory });
  const diff = async (spec: ImagesSpec) => imagesStep.diff(spec, await imagesStep.observe(spec, context()));
  const conditions = async (spec: ImagesSpec) => imagesStep.conditions(spec, await imagesStep.observe(spec, context()));
  const apply = async (spec: ImagesSpec, around = context()) => {
    await imagesStep.apply(spec, await diff(spec), around);
    return around;
  };
  const locked = (name: string, image: BuiltImage, more: Partial<ImagesSpec["images"][number]> = {}) => ({
    name,
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    pinned: true,
    ...more,
  });
  async function pushed(registryName: string, repository: string, image: BuiltImage) {
    await pushImage(registry.url, repository, "v1", image);
    return locked(`${registryName}/${repository}:v1`, image);
  }

  test("pulled and imported images are in sync when read back, pins ignored by 1.6 are told, and unpinning follows the lock", async () => {
    const archived = makeImage({ sizeBytes: MIB, seed: 11, layerCount: 2 });
    const archive = join(directory, "archived.tar");
    await writeOciArchive(archive, archived, "a.test/archived:v1");
    const spec = ImagesSpec.fromPartial({
      images: [
        await pushed("a.test", "team/small", makeImage({ sizeBytes: MIB, seed: 12 })),
        await pushed("b.test", "team/large", makeImage({ sizeBytes: 4 * MIB, seed: 13, layerCount: 3 })),
        locked("a.test/archived:v1", archived, { archive }),
      ],
    });
    expect(await diff(spec)).toHaveLength(3);
    const { progressed } = await apply(spec);
    expect(await diff(spec)).toEqual([]);
    const total = spec.images.reduce((sum, image) => sum + image.sizeBytes, 0);
    expect(progressed.at(-1)).toMatchObject({ doneBytes: total, totalBytes: total });
    const version = await client.version(new AbortController().signal);
    const reason = version.startsWith("1.6.") ? "RuntimeIgnoresPins" : "Pinned";
    expect((await conditions(spec)).map((each) => each.reason)).toEqual(["AllPresent", reason]);

    await apply(imagesStep.emptySpec);
    expect(await memory.get()).toBeUndefined();
    const records = await client.listImages(new AbortController().signal);
    expect(records.filter((record) => "io.cri-containerd.pinned" in record.labels)).toEqual([]);
    expect(records.map((record) => record.name)).toContain("a.test/archived:v1");
  });

  test("containerd killed in the middle of a pull: the step fails, and the next run goes on where it was", async () => {
    const large = makeImage({ sizeBytes: 8 * MIB, seed: 21 });
    const spec = ImagesSpec.fromPartial({
      images: [
        await pushed("a.test", "team/first", makeImage({ sizeBytes: 64 * 1024, seed: 22 })),
        await pushed("a.test", "team/large", large),
      ],
      maxParallel: 1,
    });
    const mirror = mirrors[0]!;
    mirror.setBytesPerSecond(2 * MIB);
    const applying = apply(spec).then(
      () => undefined,
      (error: unknown) => error,
    );
    await eventually("half of it was sent", 60_000, () => mirror.sentBytes > 4 * MIB);
    await containerd.kill();
    expect(await applying).toMatchObject({ reason: expect.stringMatching(/PullFailed|ContainerdUnavailable/), isRetryable: true });
    await expect(imagesStep.observe(spec, context())).rejects.toMatchObject({ reason: "ContainerdUnavailable", isRetryable: true });

    mirror.setBytesPerSecond(Number.POSITIVE_INFINITY);
    await containerd.start();
    await eventually("containerd is found again", 60_000, () => client.version(new AbortController().signal));
    const changes = await diff(spec);
    expect(changes.map((change) => change.path)).toEqual(["a.test/team/large:v1"]);
    const sentBefore = mirror.sentBytes;
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    expect(mirror.sentBytes - sentBefore).toBeLessThan(6 * MIB);
    const layer = large.layers[0]!.digest;
    const ranges = mirror.blobRequests.filter((each) => each.digest === layer).map((each) => each.range ?? "");
    expect(ranges.at(-1)).toMatch(/^bytes=\d+-$/);
  });

  test("each registry is asked for no more images at once than its limit", async () => {
    const images = [];
    for (let seed = 31; seed < 39; seed += 1) {
      images.push(await pushed(seed % 2 === 0 ? "a.test" : "b.test", `team/n${seed}`, makeImage({ sizeBytes: 200 * 1024, seed })));
    }
    for (const mirror of mirrors) mirror.setBytesPerSecond(MIB);
    const spec = ImagesSpec.fromPartial({ images, maxParallel: 6, maxParallelPerRegistry: 2 });
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    expect(mirrors.map((mirror) => mirror.peakRepositories)).toEqual([2, 2]);
  });

  test("what is collected comes back whole, from the archive too", async () => {
    const archived = makeImage({ sizeBytes: MIB, seed: 43, layerCount: 2 });
    const archive = join(directory, "archived.tar");
    await writeOciArchive(archive, archived, "a.test/archived:v1");
    const spec = ImagesSpec.fromPartial({
      images: [
        await pushed("a.test", "team/app", makeImage({ sizeBytes: MIB, seed: 44 })),
        locked("a.test/archived:v1", archived, { archive }),
      ],
    });
    await apply(spec);
    const names = (await client.listImages(new AbortController().signal)).map((record) => record.name);
    // As the kubelet's garbage collection leaves it: no name, then no content and no snapshot.
    execFileSync("/usr/bin/ctr", ["-a", containerd.socketPath, "-n", "k8s.io", "images", "rm", "--sync", ...names]);
    const changes = await diff(spec);
    expect(changes.map((change) => [change.path, change.from])).toEqual([
      ["a.test/team/app:v1", ""],
      ["a.test/archived:v1", ""],
    ]);
    expect((await conditions(spec))[0]).toMatchObject({ type: "ImagesPresent", status: "False", reason: "Missing" });
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
  });

  test("what somebody moved is moved back, with its pin", async () => {
    const image = makeImage({ sizeBytes: MIB, seed: 41 });
    const spec = ImagesSpec.fromPartial({ images: [await pushed("a.test", "team/app", image)] });
    await apply(spec);
    const { signal } = new AbortController();
    const other = makeImage({ sizeBytes: MIB, seed: 42 });
    await pushImage(registry.url, "team/app", "v2", other);
    await client.pull(`a.test/team/app@${other.digest}`, () => {}, signal);
    await client.putImage("a.test/team/app:v1", other.digest, { "io.cri-containerd.pinned": undefined }, signal);
    expect(await diff(spec)).toMatchObject([{ path: "a.test/team/app:v1", from: other.digest, to: image.digest }]);
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    const record = (await client.listImages(signal)).find((each) => each.name === "a.test/team/app:v1");
    expect(record?.labels).toMatchObject({ "io.cri-containerd.pinned": "pinned" });
  });
});
