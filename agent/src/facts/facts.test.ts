import { systemClock, VirtualClock } from "@drover/lifecycle";
import { describe, expect, it } from "vitest";
import { fakeHost } from "../fake/index.ts";
import { collectFacts } from "./facts.ts";
import type { MachineTree } from "./machine-tree.ts";
import { machineKind, versionIn } from "./parse.ts";

const never = new AbortController().signal;

describe("facts", () => {
  it("are filled from /proc, /sys and programs' own words", async () => {
    const texts: Record<string, string> = {
      "/proc/sys/kernel/hostname": "node-1\n",
      "/proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
      "/proc/meminfo": "MemTotal:       16384 kB\nMemFree: 1 kB\n",
      "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor sse\n\nprocessor\t: 1\nmodel name\t: Some CPU\n",
      "/etc/os-release": 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n',
      "/sys/block/sda/size": "2048\n",
      "/sys/block/sda/queue/rotational": "1\n",
      "/sys/block/nvme0n1/size": "4096\n",
      "/sys/class/net/eth0/type": "1\n",
      "/sys/class/net/eth0/address": "02:00:00:00:00:01\n",
      "/sys/class/net/eth0/speed": "10000\n",
      "/sys/class/net/lo/type": "772\n",
      "/sys/class/dmi/id/sys_vendor": "QEMU\n",
    };
    const lists: Record<string, string[]> = { "/sys/block": ["loop0", "nvme0n1", "sda"], "/sys/class/net": ["eth0", "lo"] };
    const tree: MachineTree = {
      read: async (path) => texts[path] ?? Promise.reject(new Error("absent")),
      list: async (path) => lists[path] ?? [],
      addresses: async () => new Map([["eth0", ["10.0.0.1"]]]),
      cpuModel: async () => "",
      board: async () => ({ vendor: "", product: "" }),
    };
    const host = fakeHost({
      programs: {
        "/usr/bin/containerd": () => ({ stdout: "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1\n" }),
        "/usr/bin/kubelet": () => ({ stdout: "Kubernetes v1.20.2\n" }),
        "/usr/sbin/runc": () => ({ exitCode: 1 }),
      },
    });
    expect(await collectFacts({ host, agentVersion: "0.1.0", clock: new VirtualClock(), tree }, never)).toMatchObject({
      hostname: "node-1",
      kernel: "6.1.0-18-amd64",
      os: "debian",
      osVersion: "12",
      cpus: 2,
      cpuModel: "Some CPU",
      memoryBytes: 16384 * 1024,
      disks: [
        { name: "nvme0n1", sizeBytes: 4096 * 512, kind: "nvme" },
        { name: "sda", sizeBytes: 2048 * 512, kind: "hdd" },
      ],
      nics: [{ name: "eth0", mac: "02:00:00:00:00:01", addresses: ["10.0.0.1"], speedMbits: 10000 }],
      versions: { containerd: "1.6.20~ds1", kubelet: "1.20.2" },
      machineKind: "vm",
      vendor: "QEMU",
    });
  });

  it("of this machine say what can be known", async () => {
    const facts = await collectFacts({ host: fakeHost(), agentVersion: "0.1.0", clock: systemClock }, never);
    expect(facts.bootId).toMatch(/^[0-9a-f-]{36}$/);
    expect([facts.cpus > 0, facts.memoryBytes > 2 ** 20, facts.kernel !== "", facts.hostname !== ""]).toEqual([true, true, true, true]);
  });

  it.each([
    ["runc version 1.1.5+ds1\ncommit: 1\n", "1.1.5+ds1"],
    ["v1.20.2\n", "1.20.2"],
    ["systemd 252 (252.22-1~deb12u1)\n+PAM\n", "252"],
    ["no version here", undefined],
  ])("find the version in %j", (text, version) => {
    expect(versionIn(text)).toBe(version);
  });

  it("tell containers, virtual and physical machines apart", () => {
    const physical = { vendor: "Dell Inc.", product: "PowerEdge", hasHypervisorFlag: false, init: "" };
    expect(machineKind(physical)).toBe("pm");
    expect(machineKind({ ...physical, hasHypervisorFlag: true })).toBe("vm");
    expect(machineKind({ ...physical, init: "A=1\ncontainer=systemd-nspawn" })).toBe("container");
  });
});
