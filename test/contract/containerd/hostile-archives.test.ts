import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findArchivedImage } from "../../../agent/src/host/containerd/archived-image.ts";
import { openTar } from "../../../agent/src/host/containerd/tar-index.ts";
import { ContainerdError } from "../../../agent/src/host/containerd-port.ts";
import { type BuiltImage, makeImage, makeTar, sha256, writeDockerArchive, writeOciArchive } from "../../support/images/index.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };

describe("archives of hostile bytes", () => {
  const { signal } = new AbortController();
  let directory: string;
  let image: BuiltImage;
  let archives: readonly Buffer[];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "drover-hostile-"));
    image = makeImage({ sizeBytes: 4096, seed: 51, layerCount: 2 });
    await writeOciArchive(join(directory, "oci.tar"), image, "r.test/a:1");
    await writeDockerArchive(join(directory, "docker.tar"), image, "r.test/a:1");
    archives = [await readFile(join(directory, "oci.tar")), await readFile(join(directory, "docker.tar"))];
  });

  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  async function find(path: string, digest: string): Promise<unknown> {
    const tar = await openTar(path, signal);
    try {
      return await findArchivedImage(tar, digest, PLATFORM, signal);
    } finally {
      await tar.close();
    }
  }

  test("however its bytes are changed or cut, it is read rightly or refused as an archive or image", async () => {
    const path = join(directory, "mutated.tar");
    const edit = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), bytes: fc.uint8Array({ minLength: 1, maxLength: 24 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1),
        fc.array(edit, { maxLength: 6 }),
        fc.double({ min: 0.1, max: 1, noNaN: true }),
        async (which, edits, kept) => {
          const bytes = Buffer.from(archives[which]!);
          for (const { at, bytes: put } of edits) bytes.set(put, Math.floor(at * (bytes.length - put.length)));
          await writeFile(path, bytes.subarray(0, Math.ceil(kept * bytes.length)));
          const outcome = await find(path, image.digest).catch((error: unknown) => error);
          if (outcome instanceof Error) expect(outcome).toBeInstanceOf(ContainerdError);
          else expect(outcome).toMatchObject({ manifest: { digest: image.digest } });
        },
      ),
      { numRuns: 300 },
    );
  });

  const index = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const asBlob = (content: Buffer) => ({ path: `blobs/${sha256(content).replace(":", "/")}`, content });
  test.each([
    ["a manifest without layers", index({ config: {} })],
    ["an index in a circle of nothing", index({ manifests: [] })],
    ["layers that are no descriptors", index({ config: null, layers: [1, "x", null] })],
    ["a size below zero", index({ config: { mediaType: "x", digest: sha256(Buffer.alloc(0)), size: -1 }, layers: [] })],
    ["too many layers", index({ config: null, layers: Array.from({ length: 5000 }, () => ({})) })],
    ["a digest that is a path", index({ config: { mediaType: "x", digest: "sha256:../../../etc/shadow", size: 1 }, layers: [] })],
    ["JSON nested deeply", Buffer.from(`${"[".repeat(100_000)}${"]".repeat(100_000)}`)],
    ["no JSON", Buffer.from("\u0000\u0001")],
  ])("%s is refused", async (_what, content) => {
    const path = join(directory, "crafted.tar");
    await writeFile(path, makeTar([asBlob(content)]));
    await expect(find(path, sha256(content))).rejects.toMatchObject({ name: "ContainerdError", code: "InvalidImage" });
  });

  test("a blob that is not what its name says is refused", async () => {
    const path = join(directory, "renamed.tar");
    await writeFile(path, makeTar([{ path: `blobs/${image.digest.replace(":", "/")}`, content: Buffer.from("{}") }]));
    await expect(find(path, image.digest)).rejects.toMatchObject({ code: "DigestMismatch" });
  });

  test("a link, a directory and an absent file are refused with the path", async () => {
    const link = join(directory, "link.tar");
    await symlink(join(directory, "oci.tar"), link);
    for (const path of [link, directory, join(directory, "absent.tar")]) {
      const refused = await openTar(path, signal).catch((error: unknown) => error);
      expect(refused).toMatchObject({ name: "ContainerdError", code: "InvalidArchive" });
      expect((refused as Error).message).toContain(path);
    }
  });
});
