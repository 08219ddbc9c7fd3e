import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { imageHost, NotLive } from "./not-live.ts";
import { ProcKernel } from "./proc-kernel.ts";
import { RootedFiles } from "./rooted-files.ts";

let outside: string;
let root: string;
let files: RootedFiles;
beforeEach(async () => {
  outside = await realpath(await mkdtemp(join(tmpdir(), "drover-files-")));
  root = join(outside, "root");
  await mkdir(join(root, "usr/lib/sysctl.d"), { recursive: true });
  await mkdir(join(root, "etc"));
  await writeFile(join(outside, "secret"), "outside");
  files = new RootedFiles(root);
});
afterEach(() => rm(outside, { recursive: true }));

describe("files under a root", () => {
  it("are written whole with their mode, in directories made on the way, and leave nothing else behind", async () => {
    await files.write("/etc/a/b/c.conf", "one", 0o640);
    await files.write("/etc/a/b/c.conf", "two", 0o600);
    expect((await files.read("/etc/a/b/c.conf"))?.toString()).toBe("two");
    expect(await files.stat("/etc/a/b/c.conf")).toEqual({ kind: "file", sizeBytes: 3, mode: 0o600 });
    expect(await readdir(join(root, "etc/a/b"))).toEqual(["c.conf"]);
    expect(await files.list("/etc/a")).toEqual(["b"]);
    await files.remove("/etc/a/b/c.conf");
    await files.remove("/etc/a/b/c.conf");
    await files.remove("/no/such/file");
    expect(await files.read("/etc/a/b/c.conf")).toBeUndefined();
    expect([await files.list("/no/such"), await files.stat("/no/such")]).toEqual([[], undefined]);
    expect(await files.freeBytes("/no/such/directory")).toBeGreaterThan(0);
  });

  it("are written without what a killed write of the same file has left, and without touching anything like it", async () => {
    await mkdir(join(root, "etc/a"));
    const strangers = [".b.conf.0123456789ab.tmp", ".c.conf.0123456789ab", ".c.conf.tmp", "c.conf.0123456789ab.tmp"];
    for (const name of [".c.conf.0123456789ab.tmp", ...strangers]) await writeFile(join(root, "etc/a", name), "half");
    await Promise.all(Array.from({ length: 8 }, (_, index) => files.write("/etc/a/c.conf", String(index), 0o600)));
    expect((await readdir(join(root, "etc/a"))).sort()).toEqual([...strangers, "c.conf"].sort());
  });

  it("leave nothing of a killed write behind when they are removed", async () => {
    await mkdir(join(root, "etc/a"));
    await writeFile(join(root, "etc/a/.c.conf.0123456789ab.tmp"), "half");
    await files.remove("/etc/a/c.conf");
    expect(await readdir(join(root, "etc/a"))).toEqual([]);
  });

  it("are read through links between directories, as inside the root", async () => {
    await symlink("usr/lib", join(root, "lib"));
    await symlink("/usr/lib", join(root, "lib64"));
    await symlink("../../../../../usr/lib", join(root, "etc/up"));
    await writeFile(join(root, "usr/lib/sysctl.d/a.conf"), "x");
    for (const path of ["/lib/sysctl.d/a.conf", "/lib64/sysctl.d/a.conf", "/etc/up/sysctl.d/a.conf"]) {
      expect((await files.read(path))?.toString()).toBe("x");
    }
    expect(await files.list("/lib/sysctl.d")).toEqual(["a.conf"]);
  });

  it("are never reached through a link out of the root, nor through one at the end", async () => {
    await symlink(outside, join(root, "etc/out"));
    await symlink("../../..", join(root, "etc/above"));
    await symlink(join(outside, "secret"), join(root, "etc/link"));
    expect(await files.read("/etc/out/secret")).toBeUndefined();
    expect(await files.read("/etc/above/secret")).toBeUndefined();
    await expect(files.read("/etc/link")).rejects.toMatchObject({ code: "ELOOP" });
    expect((await files.stat("/etc/link"))?.kind).toBe("symlink");
    await expect(files.write("/etc/out/planted", "x", 0o600)).rejects.toMatchObject({ code: "ELOOP" });
    await expect(files.remove("/etc/out/secret")).rejects.toMatchObject({ code: "ELOOP" });
    await files.write("/etc/link", "mine", 0o600);
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("outside");
    expect((await stat(join(root, "etc/link"))).isFile()).toBe(true);
  });

  it("refuse paths that are relative, climb or hold NUL, loops of links, fifos, directories and what is too large", async () => {
    for (const path of ["etc/a", "/etc/../secret", "/etc/a\0b", ""])
      await expect(files.read(path)).rejects.toMatchObject({ code: "EINVAL" });
    await symlink("loop", join(root, "etc/loop"));
    await expect(files.read("/etc/loop/a")).rejects.toMatchObject({ code: "ELOOP" });
    execFileSync("/usr/bin/mkfifo", [join(root, "etc/fifo")]);
    await expect(files.read("/etc/fifo")).rejects.toMatchObject({ code: "EINVAL" });
    await expect(files.read("/etc")).rejects.toMatchObject({ code: "EISDIR" });
    await writeFile(join(root, "etc/large"), Buffer.alloc(1001));
    await expect(files.read("/etc/large", 1000)).rejects.toMatchObject({ code: "EFBIG" });
    expect((await files.read("/etc/large", 1001))?.length).toBe(1001);
  });

  it("leak no descriptors", async () => {
    const openNow = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
    const before = await openNow();
    await symlink("nowhere", join(root, "etc/dangling"));
    for (let index = 0; index < 50; index += 1) {
      await files.write("/etc/x/y", "1", 0o600);
      await files.read("/etc/x/y");
      await files.read("/no/such");
      await files.list("/etc/x");
      await files.read("/etc/dangling/z").catch(() => undefined);
      await files.write("/etc/dangling/z", "", 0o600).catch(() => undefined);
    }
    expect(await openNow()).toBeLessThanOrEqual(before + 2);
  });
});

describe("a host of an image", () => {
  it("answers for its files, and by a typed error for what would need it to run", async () => {
    const host = imageHost(root);
    const never = new AbortController().signal;
    await host.files.write("/etc/a", "1", 0o600);
    expect(host.isLive).toBe(false);
    await expect(host.kernel.readSysctl("vm.swappiness")).rejects.toThrow(NotLive);
    await expect(host.units.restart("containerd.service", never)).rejects.toThrow(NotLive);
    await expect(host.containerd.version(never)).rejects.toThrow(NotLive);
    host.containerd.close();
  });
});

describe("the kernel", () => {
  it("is read by dotted key, and nothing outside /proc/sys is reached", async () => {
    const kernel = new ProcKernel();
    expect(await kernel.readSysctl("kernel.ostype")).toBe("Linux");
    expect(await kernel.readSysctl("net.ipv4.ip_local_port_range")).toMatch(/^\d+ \d+$/);
    expect(await kernel.readSysctl("no.such.key")).toBeUndefined();
    for (const key of ["../version", "..", "a..b", "/etc/passwd", "a b", "a\n", "", ".a"]) {
      await expect(kernel.readSysctl(key)).rejects.toMatchObject({ code: "EINVAL" });
    }
    expect(await kernel.bootId()).toMatch(/^[0-9a-f-]{36}$/);
    expect([await kernel.isMountPoint("/"), await kernel.isMountPoint("/proc/"), await kernel.isMountPoint("/etc")]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("is written in its own files only: a dot in a name is a slash in the key", async () => {
    await mkdir(join(root, "sys/net/conf/eth0.100"), { recursive: true });
    await writeFile(join(root, "sys/net/conf/eth0.100/rp_filter"), "0\n");
    const kernel = new ProcKernel(root);
    await kernel.writeSysctl("net.conf.eth0/100.rp_filter", "1");
    expect(await kernel.readSysctl("net.conf.eth0/100.rp_filter")).toBe("1");
    await expect(kernel.writeSysctl("net.absent", "1")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(kernel.writeSysctl("net.conf.eth0/100.rp_filter", "1\n2")).rejects.toMatchObject({ code: "EINVAL" });
  });
});
