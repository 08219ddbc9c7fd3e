import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileEvidenceStore } from "./evidence-store.ts";
import { tarOf } from "./tar.ts";

describe("evidence on disk", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "drover-evidence-"));
  });
  afterEach(() => rm(root, { recursive: true }));

  it("keeps bundles for this user alone, 0600 in 0700 (I6)", async () => {
    const folder = join(root, "evidence");
    const store = fileEvidenceStore(folder);
    await store.put("a-1", Buffer.from("one"));
    await store.put("a-1", Buffer.from("two"));
    expect((await store.get("a-1"))?.toString()).toBe("two");
    expect([(await stat(folder)).mode & 0o777, (await stat(join(folder, "a-1.tar.gz"))).mode & 0o777]).toEqual([0o700, 0o600]);
    expect(await store.get("a-2")).toBeUndefined();
  });

  it("keeps the newest by count and by bytes, and always the one just written", async () => {
    const store = fileEvidenceStore(root, { bundles: 3, bytes: 100 });
    for (const [index, size] of [10, 10, 10, 10, 85, 200].entries()) {
      await store.put(`b-${index}`, Buffer.alloc(size));
      await utimes(join(root, `b-${index}.tar.gz`), index + 1, index + 1);
      if (index === 3) expect((await readdir(root)).sort()).toEqual(["b-1.tar.gz", "b-2.tar.gz", "b-3.tar.gz"]);
      if (index === 4) expect((await readdir(root)).sort()).toEqual(["b-3.tar.gz", "b-4.tar.gz"]);
    }
    expect(await readdir(root)).toEqual(["b-5.tar.gz"]);
  });

  it("takes no id that is a path", async () => {
    const store = fileEvidenceStore(root);
    await expect(store.put("../x", Buffer.from("x"))).rejects.toThrow(RangeError);
    expect(await store.get("../../etc/passwd")).toBeUndefined();
  });

  it("writes archives that tar reads", async () => {
    const path = join(root, "x.tar");
    await writeFile(
      path,
      tarOf(
        [
          { name: "README", content: Buffer.from("hello\n") },
          { name: "b.json", content: Buffer.alloc(1_000, 0x61) },
        ],
        1_767_225_600_000,
      ),
    );
    expect(execFileSync("/usr/bin/tar", ["-tvf", path], { env: { TZ: "UTC" } }).toString()).toMatch(
      /6 2026-01-01 00:00 README\n.*1000 2026-01-01 00:00 b\.json\n$/,
    );
    expect(execFileSync("/usr/bin/tar", ["-xOf", path, "README"]).toString()).toBe("hello\n");
    expect(() => tarOf([{ name: "x".repeat(101), content: Buffer.alloc(0) }], 0)).toThrow(RangeError);
  });
});
