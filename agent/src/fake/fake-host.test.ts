import { describe, expect, it } from "vitest";
import { FakeCrash, fakeHost, fakeStepContext } from "./index.ts";

const never = new AbortController().signal;

describe("fakeHost", () => {
  it("records effects in order and reads none of them as effects", async () => {
    const host = fakeHost({ files: { "/etc/a": "1" }, sysctls: { "vm.swappiness": "60" }, activeUnits: ["containerd.service"] });
    await host.files.read("/etc/a");
    await host.files.write("/etc/b/c", "2", 0o600);
    await host.kernel.writeSysctl("vm.swappiness", "10");
    await host.units.restart("containerd.service", never);
    expect(host.effects.summary).toEqual(["files.write /etc/b/c", "kernel.writeSysctl vm.swappiness", "units.restart containerd.service"]);
    expect(await host.files.list("/etc")).toEqual(["a", "b"]);
    expect(await host.kernel.readSysctl("vm.swappiness")).toBe("10");
  });

  it("dies after the k-th effect, does nothing more, and keeps its state for the next life", async () => {
    const host = fakeHost({ sysctls: { a: "1", b: "1" } });
    const { memory } = fakeStepContext(host);
    host.effects.crashAfter(2);
    await memory.set({ a: "1" });
    await host.kernel.writeSysctl("a", "2");
    await expect(host.kernel.writeSysctl("b", "2")).rejects.toThrow(FakeCrash);
    await expect(host.kernel.readSysctl("a")).rejects.toThrow(FakeCrash);
    host.effects.revive();
    expect([await host.kernel.readSysctl("a"), await host.kernel.readSysctl("b"), await memory.get()]).toEqual(["2", "1", { a: "1" }]);
  });

  it("names pulled images as containerd does and tells pins only from 1.7 on", async () => {
    const digest = `sha256:${"a".repeat(64)}`;
    for (const [version, isPinned] of [
      ["1.6.20", false],
      ["1.7.20", true],
    ] as const) {
      const host = fakeHost({ containerd: { version, registry: { [`r.example/pause@${digest}`]: 100 } } });
      await host.containerd.pull(`r.example/pause:3.9@${digest}`, () => {}, never);
      await host.containerd.putImage("r.example/pause:3.9", digest, { "io.cri-containerd.pinned": "pinned" }, never);
      expect(await host.containerd.listCriImages(never)).toMatchObject([{ repoTags: ["r.example/pause:3.9"], sizeBytes: 100, isPinned }]);
    }
  });

  it("follows links as the real files do: before the last component, to read", async () => {
    const host = fakeHost({ files: { "/etc/link": { linkTo: "/elsewhere" }, "/lib": { linkTo: "usr/lib" }, "/usr/lib/sysctl.d/a": "1" } });
    expect([(await host.files.read("/lib/sysctl.d/a"))?.toString(), await host.files.list("/lib/sysctl.d")]).toEqual(["1", ["a"]]);
    await expect(host.files.read("/etc/link")).rejects.toMatchObject({ code: "ELOOP" });
    await expect(host.files.write("/etc/link/x", "", 0o600)).rejects.toMatchObject({ code: "ELOOP" });
    await expect(host.files.read("/etc/../etc/passwd")).rejects.toMatchObject({ code: "EINVAL" });
  });
});
