/** The Containerd port: one suite, on the fake that step authors test with and on a real containerd. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fakeHost } from "../../../agent/src/fake/index.ts";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import type { Containerd } from "../../../agent/src/host/containerd-port.ts";
import { startContainerd, startRegistry } from "../../support/containerd/index.ts";
import { type BuiltImage, makeImage, pushImage, sha256, writeOciArchive } from "../../support/images/index.ts";
import { eventually } from "../../testbed/program.ts";

const PIN = "io.cri-containerd.pinned";
const pulled = makeImage({ sizeBytes: 100_000, seed: 71 });
const archived = makeImage({ sizeBytes: 50_000, seed: 72 });
const ABSENT = sha256(Buffer.from("absent"));

interface World {
  readonly containerd: Containerd;
  /** Holds `archived`. */
  readonly archive: string;
  end(): Promise<void>;
}

async function fakeWorld(): Promise<World> {
  const size = (image: BuiltImage): number => image.sizeBytes;
  const { containerd } = fakeHost({
    containerd: {
      registry: { [`r.test/team/app@${pulled.digest}`]: size(pulled) },
      archives: { "/images/a.tar": { sizeBytes: size(archived), images: [{ name: "r.test/archived:1", digest: archived.digest }] } },
    },
  });
  return { containerd, archive: "/images/a.tar", end: async () => {} };
}

async function realWorld(): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), "drover-archives-"));
  const archive = join(directory, "a.tar");
  await writeOciArchive(archive, archived, "r.test/archived:1");
  const registry = await startRegistry();
  await pushImage(registry.url, "team/app", "1", pulled);
  const running = await startContainerd({ mirrors: { "r.test": [registry.url] } });
  const containerd = new ContainerdClient({ socketPath: running.socketPath });
  const end = async (): Promise<void> => {
    containerd.close();
    await running.stop();
    await registry.stop();
    await rm(directory, { recursive: true, force: true });
  };
  return { containerd, archive, end };
}

describe.each([
  ["fake", fakeWorld],
  ["real", realWorld],
])("the %s containerd", (_which, makeWorld) => {
  let world: World;
  const { signal } = new AbortController();
  const record = async (name: string) => (await world.containerd.listImages(signal)).find((image) => image.name === name);
  const seenByCri = (name: string) =>
    eventually(`CRI lists ${name}`, 60_000, async () =>
      (await world.containerd.listCriImages(signal)).find((image) => image.repoTags.includes(name)),
    );

  beforeAll(async () => {
    world = await makeWorld();
  });
  afterAll(async () => {
    await world?.end();
  });

  test("answers what it is", async () => {
    expect(await world.containerd.version(signal)).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await world.containerd.criStatus(signal)).toMatchObject({ isReady: true });
    expect(await world.containerd.storagePath(signal)).toMatch(/^\/.*io\.containerd\.snapshotter\.v1\./);
  });

  test("has nothing at first", async () => {
    expect(await world.containerd.listImages(signal)).toEqual([]);
    expect(await world.containerd.findComplete([pulled.digest, ABSENT], signal)).toEqual(new Set());
    expect(await world.containerd.findComplete([], signal)).toEqual(new Set());
  });

  test("refuses to name what is not there, to pull what the registry does not have, to import what is not in the archive", async () => {
    const { containerd, archive } = world;
    await expect(containerd.putImage("r.test/x:1", ABSENT, {}, signal)).rejects.toMatchObject({
      name: "ContainerdError",
      code: "NotFound",
    });
    await expect(containerd.pull(`r.test/team/app@${ABSENT}`, () => {}, signal)).rejects.toMatchObject({ code: "NotFound" });
    const absent = { name: "r.test/x:1", digest: ABSENT };
    await expect(containerd.importArchive(archive, absent, () => {}, signal)).rejects.toMatchObject({ code: "DigestNotInArchive" });
    await expect(containerd.importArchive("/nonexistent.tar", absent, () => {}, signal)).rejects.toMatchObject({ code: "InvalidArchive" });
    expect(await record("r.test/x:1")).toBeUndefined();
  });

  test("pulls by digest, tells its bytes, and is complete before it has a tag", async () => {
    const seen: number[] = [];
    await world.containerd.pull(`r.test/team/app@${pulled.digest}`, ({ doneBytes }) => seen.push(doneBytes), signal);
    expect(seen.at(-1)).toBe(pulled.sizeBytes);
    expect(await world.containerd.findComplete([pulled.digest, ABSENT], signal)).toEqual(new Set([pulled.digest]));
    expect(await record(`r.test/team/app@${pulled.digest}`)).toMatchObject({ digest: pulled.digest });
    expect(await record("r.test/team/app:1")).toBeUndefined();
  });

  test("creates a name that CRI lists, merges its labels and takes them off", async () => {
    const name = "r.test/team/app:1";
    const { containerd } = world;
    await containerd.putImage(name, pulled.digest, { [PIN]: "pinned", "test.a": "1" }, signal);
    await seenByCri(name);
    await containerd.putImage(name, pulled.digest, { "test.a": undefined, "test.b": "2" }, signal);
    expect(await record(name)).toMatchObject({ digest: pulled.digest, labels: { [PIN]: "pinned", "test.b": "2" } });
    expect((await record(name))?.labels).not.toHaveProperty(["test.a"]);
  });

  test("imports one digest under the name it is told, keeps that name's labels, and moves names", async () => {
    const name = "r.test/elsewhere:9";
    const { containerd, archive } = world;
    const seen: number[] = [];
    await containerd.importArchive(archive, { name, digest: archived.digest }, ({ doneBytes }) => seen.push(doneBytes), signal);
    expect(seen.at(-1)).toBe(archived.sizeBytes);
    expect(await record("r.test/archived:1")).toBeUndefined();
    await seenByCri(name);
    await containerd.putImage(name, archived.digest, { [PIN]: "pinned" }, signal);
    await containerd.importArchive(archive, { name, digest: archived.digest }, () => {}, signal);
    expect(await record(name)).toMatchObject({ digest: archived.digest, labels: { [PIN]: "pinned" } });
    await containerd.putImage(name, pulled.digest, {}, signal);
    expect(await record(name)).toMatchObject({ digest: pulled.digest, labels: { [PIN]: "pinned" } });
  });

  test("throws the signal's reason when it is aborted", async () => {
    await expect(world.containerd.listImages(AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
  });
});
