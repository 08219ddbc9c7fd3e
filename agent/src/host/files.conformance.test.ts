/** What every Files does alike, the real ones and those in memory. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fakeHost } from "../fake/index.ts";
import type { Files } from "./host.ts";
import { RootedFiles } from "./rooted-files.ts";

let outside: string;
let root: string;
beforeEach(async () => {
  outside = await realpath(await mkdtemp(join(tmpdir(), "drover-files-")));
  root = join(outside, "root");
  await mkdir(root);
});
afterEach(() => rm(outside, { recursive: true }));

const text = async (files: Files, path: string) => (await files.read(path))?.toString();

describe.each([
  ["real", (): Files => new RootedFiles(root)],
  ["fake", (): Files => fakeHost().files],
])("%s files", (_name, make) => {
  it("switch a link from one target to the next, over a file too, never over a directory", async () => {
    const files = make();
    expect(await files.readLink("/opt/bin/tool")).toBeUndefined();
    await files.write("/opt/bin/tool", "old", 0o755);
    expect(await files.readLink("/opt/bin/tool")).toBeUndefined();
    await files.writeLink("/opt/bin/tool", "/store/1/tool");
    await files.writeLink("/opt/bin/tool", "/store/2/tool");
    expect(await files.readLink("/opt/bin/tool")).toBe("/store/2/tool");
    expect(await files.list("/opt/bin")).toEqual(["tool"]);
    await expect(files.writeLink("/opt/bin", "/elsewhere")).rejects.toMatchObject({ code: "EISDIR" });
  });

  it("keep a file or link under a second name, again and again", async () => {
    const files = make();
    await files.write("/usr/bin/tool", "old", 0o755);
    await files.writeHardLink("/usr/bin/tool", "/usr/bin/tool.kept");
    await files.writeHardLink("/usr/bin/tool", "/usr/bin/tool.kept");
    await files.writeLink("/usr/bin/tool", "/store/tool");
    expect(await text(files, "/usr/bin/tool.kept")).toBe("old");
    await files.writeHardLink("/usr/bin/tool", "/usr/bin/tool.kept");
    expect(await files.readLink("/usr/bin/tool.kept")).toBe("/store/tool");
    expect(await files.list("/usr/bin")).toEqual(["tool", "tool.kept"]);
    await expect(files.writeHardLink("/usr/bin/none", "/usr/bin/x")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("are renamed over files and links, whole directories to where nothing is", async () => {
    const files = make();
    await files.write("/a/one", "1", 0o644);
    await files.write("/b/two", "2", 0o644);
    await files.rename("/a/one", "/b/two");
    expect([await files.list("/a"), await text(files, "/b/two")]).toEqual([[], "1"]);
    await files.rename("/b", "/c/deep/b");
    expect(await text(files, "/c/deep/b/two")).toBe("1");
    await files.write("/d/x", "x", 0o644);
    await expect(files.rename("/d", "/c/deep/b")).rejects.toMatchObject({ code: "EEXIST" });
    await expect(files.rename("/d/x", "/c/deep")).rejects.toMatchObject({ code: "EEXIST" });
    await expect(files.rename("/none", "/e")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("tell the digest of content, and by one word whether it may have changed", async () => {
    const files = make();
    expect([await files.digest("/f"), await files.identity("/f")]).toEqual([undefined, undefined]);
    await files.write("/f", "content", 0o755);
    expect(await files.digest("/f")).toBe(`sha256:${createHash("sha256").update("content").digest("hex")}`);
    const first = await files.identity("/f");
    expect(first).toMatchObject({ kind: "file", mode: 0o755, sizeBytes: 7, uid: 0 });
    expect(await files.identity("/f")).toEqual(first);
    await files.write("/f", "another", 0o755);
    expect((await files.identity("/f"))?.version).not.toBe(first?.version);
    await files.writeLink("/l", "/f");
    await expect(files.digest("/l")).rejects.toThrow();
  });

  it("are removed with all that is in them, once and again", async () => {
    const files = make();
    await files.write("/s/1/a", "a", 0o644);
    await files.write("/s/1/deep/b", "b", 0o644);
    await files.write("/s/2/c", "c", 0o644);
    await files.removeTree("/s/1");
    await files.removeTree("/s/1");
    await files.removeTree("/no/such");
    expect(await files.list("/s")).toEqual(["2"]);
    await files.removeTree("/s/2/c");
    expect(await files.stat("/s/2/c")).toBeUndefined();
  });

  it("are never reached through links when they are changed", async () => {
    const files = make();
    await files.write("/real/f", "1", 0o644);
    await files.writeLink("/link", "/real");
    const refused = { code: "ELOOP" };
    await expect(files.writeLink("/link/x", "y")).rejects.toMatchObject(refused);
    await expect(files.rename("/link/f", "/g")).rejects.toMatchObject(refused);
    await expect(files.rename("/real/f", "/link/g")).rejects.toMatchObject(refused);
    await expect(files.writeHardLink("/link/f", "/g")).rejects.toMatchObject(refused);
    await expect(files.removeTree("/link/f")).rejects.toMatchObject(refused);
    await files.removeTree("/link");
    expect(await text(files, "/real/f")).toBe("1");
  });
});

describe("a tree that is removed for real", () => {
  it("loses its links, never what they point at", async () => {
    await mkdir(join(outside, "precious"));
    await writeFile(join(outside, "precious/f"), "1");
    await mkdir(join(root, "tree/deep"), { recursive: true });
    await symlink(join(outside, "precious"), join(root, "tree/deep/out"));
    await symlink("../../../precious", join(root, "tree/up"));
    await new RootedFiles(root).removeTree("/tree");
    expect([await readdir(root), await readFile(join(outside, "precious/f"), "utf8")]).toEqual([[], "1"]);
  });

  it("keeps what is mounted in it, though it is of the same file system", () => {
    // In a mount namespace of its own: the bind mount is gone with it.
    const script = `
      import { RootedFiles } from ${JSON.stringify(join(import.meta.dirname, "rooted-files.ts"))};
      const error = await new RootedFiles(${JSON.stringify(root)}).removeTree("/tree").catch((e) => e);
      console.log(error.code);`;
    const setUp =
      'mkdir -p "$0/tree/mnt" "$1/precious"; echo 1 > "$1/precious/f"; mount --bind "$1/precious" "$0/tree/mnt"; exec "$2" --input-type=module -e "$3"';
    const said = execFileSync("/usr/bin/unshare", [
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-c",
      setUp,
      root,
      outside,
      process.execPath,
      script,
    ]);
    expect(said.toString().trim()).toBe("EBUSY");
    expect(execFileSync("/bin/cat", [join(outside, "precious/f")]).toString()).toBe("1\n");
  });
});
