import { readFile, writeFile, mkdtemp, rm } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "@drover/lifecycle";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import {
  type RunningContainerd,
  type RunningMirror,
  type RunningRegistry,
  startContainerd,
  startMirror,
  startRegistry,
} from "../../support/containerd/index.ts";
import {
  MACHINE_ARCHITECTURE,
  makeImage,
  makeIndex,
  pushImage,
  pushIndex,
  sha256,
  writeDockerArchive,
  writeOciArchive,
} from "../../support/images/index.ts";
import { eventually } from "../../testbed/program.ts";

const MIB = 2 ** 20;
const PINNED = { "io.cri-containerd.pinned": "pinned" };

describe("the containerd client on a real containerd", () => {
  let registry: RunningRegistry;
  let mirror: RunningMirror;
  let containerd: RunningContainerd;
  let client: ContainerdClient;
  let directory: string;
  const { signal } = new AbortController();
  const ignore = (): void => {};

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "drover-archives-"));
    registry = await startRegistry();
    mirror = await startMirror(registry.url);
    containerd = await startContainerd({ mirrors: { "registry.test": [mirror.url] } });
    client = new ContainerdClient({ socketPath: containerd.socketPath });
  });

  afterAll(async () => {
    client?.close();
    await containerd?.stop();
    await mirror?.stop();
    await registry?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const isComplete = async (digest: string) => (await client.findComplete([digest], signal)).has(digest);
  const criImage = async (name: string) => (await client.listCriImages(signal)).find((image) => image.repoTags.includes(name));
  const record = async (name: string) => (await client.listImages(signal)).find((image) => image.name === name);

  test("it tells version, CRI's readiness and where images are kept", async () => {
    expect(await client.version(signal)).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await client.criStatus(signal)).toMatchObject({ isReady: true });
    expect(await client.storagePath(signal)).toMatch(new RegExp(`^${containerd.rootDirectory}/`));
  });

  test("an image is pulled by digest through the mirror, named, labelled and complete", async () => {
    const image = makeImage({ sizeBytes: 2 * MIB, seed: 1, layerCount: 3 });
    await pushImage(registry.url, "team/app", "v1", image);
    mirror.setBytesPerSecond(MIB);
    const seen: number[] = [];
    await client.pull(`registry.test/team/app@${image.digest}`, (progress) => seen.push(progress.doneBytes), signal);
    mirror.setBytesPerSecond(Number.POSITIVE_INFINITY);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(image.sizeBytes);
    expect(seen.some((bytes) => bytes > 0 && bytes < image.sizeBytes)).toBe(true);
    expect(await isComplete(image.digest)).toBe(true);

    const name = "registry.test/team/app:v1";
    await client.putImage(name, image.digest, PINNED, signal);
    expect(await record(name)).toMatchObject({ digest: image.digest, labels: PINNED });
    const seenByCri = await eventually("CRI sees the name", 60_000, () => criImage(name));
    expect(seenByCri.repoDigests).toEqual([`registry.test/team/app@${image.digest}`]);
    expect((await record(name))?.labels).toMatchObject(PINNED);

    await client.putImage(name, image.digest, { "io.cri-containerd.pinned": undefined, "drover.test": "kept" }, signal);
    expect((await record(name))?.labels).not.toHaveProperty(["io.cri-containerd.pinned"]);
    expect((await record(name))?.labels).toMatchObject({ "drover.test": "kept" });
  });

  test("a digest that the registry does not have is refused, and so is content that is not its digest", async () => {
    const image = makeImage({ sizeBytes: MIB, seed: 2 });
    await pushImage(registry.url, "team/damaged", "v1", image);
    const other = makeImage({ sizeBytes: MIB, seed: 3 });
    await expect(client.pull(`registry.test/team/damaged@${other.digest}`, ignore, signal)).rejects.toMatchObject({ code: "NotFound" });
    const path = registry.blobPath(image.layers[0]!.digest);
    const bytes = await readFile(path);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(path, bytes);
    await expect(client.pull(`registry.test/team/damaged@${image.digest}`, ignore, signal)).rejects.toMatchObject({ code: "Failed" });
    expect(await isComplete(image.digest)).toBe(false);
  });

  test("an OCI archive is imported by digest and unpacked, so that CRI has it whole", async () => {
    const image = makeImage({ sizeBytes: 3 * MIB, seed: 4, layerCount: 3 });
    const path = join(directory, "oci.tar");
    await writeOciArchive(path, image, "registry.test/archived:v1");
    const name = "registry.test/archived:v1";
    const seen: number[] = [];
    await client.importArchive(path, { name, digest: image.digest }, (progress) => seen.push(progress.doneBytes), signal);
    expect(seen.at(-1)).toBe(image.sizeBytes);
    expect(await isComplete(image.digest)).toBe(true);
    await client.putImage(name, image.digest, PINNED, signal);
    expect(await eventually("CRI sees it", 60_000, () => criImage(name))).toMatchObject({ id: image.config.digest });
    expect(await record(name)).toMatchObject({ digest: image.digest, labels: PINNED });
    await client.importArchive(path, { name, digest: image.digest }, ignore, signal);
    expect(await record(name)).toMatchObject({ digest: image.digest, labels: PINNED });
    expect(ctr("leases", "ls", "-q").trim()).toBe("");
  });

  test("what was imported survives a garbage collection and a restart of containerd", async () => {
    const image = makeImage({ sizeBytes: MIB, seed: 5, layerCount: 2 });
    const path = join(directory, "kept.tar");
    await writeOciArchive(path, image, "registry.test/kept:v1");
    await client.importArchive(path, { name: "registry.test/kept:v1", digest: image.digest }, ignore, signal);
    ctr("content", "prune", "references");
    await containerd.kill();
    await expect(client.version(signal)).rejects.toMatchObject({ name: "ContainerdError", code: "Unavailable" });
    await containerd.start();
    await eventually("containerd is found again", 60_000, () => client.version(signal));
    expect(await isComplete(image.digest)).toBe(true);
    await eventually("CRI has it", 60_000, () => criImage("registry.test/kept:v1"));
  });

  test("of an index only this machine's image is brought, pulled or imported, and the name keeps the index's digest", async () => {
    const other = makeImage({ sizeBytes: MIB, seed: 61, architecture: "s390x" });
    const ours = (seed: number) => makeIndex({ s390x: other, [MACHINE_ARCHITECTURE]: makeImage({ sizeBytes: MIB, seed }) });
    const pulled = ours(62);
    await pushIndex(registry.url, "team/multi", "v1", pulled);
    await client.pull(`registry.test/team/multi@${pulled.digest}`, ignore, signal);
    await client.putImage("registry.test/team/multi:v1", pulled.digest, PINNED, signal);
    const archived = ours(63);
    const path = join(directory, "index.tar");
    await writeOciArchive(path, archived, "registry.test/multi:v2");
    await client.importArchive(path, { name: "registry.test/team/multi:v2", digest: archived.digest }, ignore, signal);
    for (const [tag, index] of [["v1", pulled] as const, ["v2", archived] as const]) {
      const name = `registry.test/team/multi:${tag}`;
      expect(await isComplete(index.digest)).toBe(true);
      expect(await record(name)).toMatchObject({ digest: index.digest });
      expect(await eventually("CRI sees it", 60_000, () => criImage(name))).toMatchObject({ id: index.images[1]!.config.digest });
    }
    expect(ctr("content", "ls", "-q")).not.toContain(other.layers[0]!.digest);
    const foreign = new ContainerdClient({ socketPath: containerd.socketPath, platform: { os: "linux", architecture: "riscv64" } });
    await expect(foreign.findComplete([archived.digest], signal)).rejects.toMatchObject({ code: "InvalidImage" });
    foreign.close();
  });

  test("containerd killed in the middle of an import: the next one goes on where it was", async () => {
    const image = makeImage({ sizeBytes: 16 * MIB, seed: 9 });
    const path = join(directory, "large.tar");
    await writeOciArchive(path, image, "registry.test/large:v1");
    const wanted = { name: "registry.test/large:v1", digest: image.digest };
    let killing: Promise<void> | undefined;
    const importing = client.importArchive(
      path,
      wanted,
      ({ doneBytes }) => {
        if (doneBytes > 8 * MIB) killing ??= containerd.kill();
      },
      signal,
    );
    await expect(importing).rejects.toMatchObject({ name: "ContainerdError", code: "Unavailable" });
    await killing;
    await containerd.start();
    await eventually("containerd is found again", 60_000, () => client.version(signal));
    expect(await isComplete(image.digest)).toBe(false);
    const seen: number[] = [];
    await client.importArchive(path, wanted, ({ doneBytes }) => seen.push(doneBytes), signal);
    expect(seen.find((bytes) => bytes > MIB)).toBeGreaterThanOrEqual(8 * MIB);
    expect(await isComplete(image.digest)).toBe(true);
    expect(ctr("leases", "ls", "-q").trim()).toBe("");
  });

  test("a docker archive gets the digest that ctr gives it", async () => {
    const image = makeImage({ sizeBytes: MIB, seed: 6, layerCount: 2 });
    const path = join(directory, "docker.tar");
    await writeDockerArchive(path, image, "registry.test/docker:v1");
    const absent = client.importArchive(path, { name: "registry.test/docker:v1", digest: image.digest }, ignore, signal);
    const refused = (await absent.catch((error: unknown) => error)) as Error;
    expect(refused).toMatchObject({ code: "DigestNotInArchive" });
    const digest = /it has (sha256:[0-9a-f]{64})/.exec(refused.message)![1]!;
    await client.importArchive(path, { name: "registry.test/docker:v1", digest }, ignore, signal);
    expect(await isComplete(digest)).toBe(true);
    ctr("images", "import", "--no-unpack", path);
    expect((await record("registry.test/docker:v1"))?.digest).toBe(digest);
  });

  test("an archive is refused when a blob in it is not its digest, and nothing of it is named", async () => {
    const image = makeImage({ sizeBytes: 2 * MIB, seed: 7 });
    const path = join(directory, "damaged.tar");
    await writeOciArchive(path, image, "registry.test/bad:v1");
    const bytes = await readFile(path);
    const at = bytes.indexOf(image.layers[0]!.bytes.subarray(MIB, MIB + 64));
    bytes[at]! ^= 1;
    await writeFile(path, bytes);
    const importing = client.importArchive(path, { name: "registry.test/bad:v1", digest: image.digest }, ignore, signal);
    await expect(importing).rejects.toMatchObject({ name: "ContainerdError" });
    expect(await record("registry.test/bad:v1")).toBeUndefined();
    await writeOciArchive(path, image, "registry.test/bad:v1");
    await client.importArchive(path, { name: "registry.test/bad:v1", digest: image.digest }, ignore, signal);
    expect(await isComplete(image.digest)).toBe(true);
  });

  test.each([
    ["no tar at all", Buffer.from("hello".repeat(1000))],
    ["a compressed one", Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(2000, 7)])],
    ["an empty file", Buffer.alloc(0)],
  ])("an archive that is %s is refused by name", async (_what, bytes) => {
    const path = join(directory, "strange.tar");
    await writeFile(path, bytes);
    const importing = client.importArchive(path, { name: "registry.test/x:v1", digest: sha256(Buffer.from("x")) }, ignore, signal);
    await expect(importing).rejects.toThrow(path);
  });

  test("an abort ends a pull at once", async () => {
    const image = makeImage({ sizeBytes: 4 * MIB, seed: 8 });
    await pushImage(registry.url, "team/aborted", "v1", image);
    mirror.setBytesPerSecond(256 * 1024);
    const stopping = new AbortController();
    const pulling = client.pull(`registry.test/team/aborted@${image.digest}`, () => stopping.abort(new Error("stop")), stopping.signal);
    await expect(pulling).rejects.toThrow("stop");
    mirror.setBytesPerSecond(Number.POSITIVE_INFINITY);
  });

  function ctr(...args: string[]): string {
    return execFileSync("/usr/bin/ctr", ["-a", containerd.socketPath, "-n", "k8s.io", ...args], { encoding: "utf8" });
  }
});

test("a socket that nobody serves is told as such", async () => {
  const client = new ContainerdClient({ socketPath: "/nonexistent/containerd.sock" });
  await expect(client.version(new AbortController().signal)).rejects.toMatchObject({ name: "ContainerdError", code: "Unavailable" });
  client.close();
});

test("a socket that is served by nobody awake: every call ends at its deadline, a pull as stalled", async () => {
  const directory = await mkdtemp(join(tmpdir(), "drover-mute-"));
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket));
  const socketPath = join(directory, "containerd.sock");
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  const clock = new VirtualClock();
  const client = new ContainerdClient({ socketPath, clock });
  const { signal } = new AbortController();
  const reference = `registry.test/app@${sha256(Buffer.from("x"))}`;
  const outcomes = Promise.all([
    expect(client.version(signal)).rejects.toMatchObject({ name: "ContainerdError", code: "DeadlineExceeded" }),
    expect(client.listImages(signal)).rejects.toMatchObject({ name: "ContainerdError", code: "DeadlineExceeded" }),
    expect(client.pull(reference, () => {}, signal)).rejects.toMatchObject({ name: "ContainerdError", code: "Stalled" }),
  ]);
  await clock.advance(6 * 60_000);
  await outcomes;
  client.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  await rm(directory, { recursive: true, force: true });
});
