import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalSysctlValue, checkSysctl, checkSysctls, describeSysctl, sysctlPath } from "./index.ts";
import { SYSCTL_RULES } from "./sysctl-allow-list.ts";

const GOOD: Readonly<Record<string, string | number>> = {
  "net.ipv4.neigh.default.gc_thresh1": 80_000,
  "net.ipv4.neigh.default.gc_thresh2": 90_000,
  "net.ipv4.neigh.default.gc_thresh3": 100_000,
  "net.ipv6.neigh.default.gc_thresh3": 100_000,
  "net.core.somaxconn": "32768",
  "net.ipv4.tcp_rmem": "4096\t131072  6291456",
  "net.ipv4.tcp_congestion_control": "bbr",
  "net.core.default_qdisc": "fq",
  "net.ipv4.conf.all.rp_filter": 0,
  "net.ipv4.conf.eth0/100.rp_filter": 2,
  "net.ipv6.conf.eth0.accept_ra": 2,
  "net.netfilter.nf_conntrack_max": 1_000_000,
  "net.bridge.bridge-nf-call-iptables": 1,
  "fs.inotify.max_user_watches": 1_048_576,
  "fs.file-max": "9223372036854775807",
  "kernel.shmmax": "18446744073692774399",
  "kernel.pid_max": 4_194_304,
  "kernel.threads-max": 4_194_304,
  "kernel.panic": 10,
  "kernel.printk": "4 4 1 7",
  "kernel.sem": "250 32000 100 128",
  "vm.max_map_count": 262_144,
  "vm.swappiness": 0,
  "vm.overcommit_memory": 1,
};

const DENIED = [
  "kernel.core_pattern",
  "kernel/core_pattern",
  "Kernel.Core_Pattern",
  "kernel.core_pipe_limit",
  "kernel.modprobe",
  "kernel.hotplug",
  "kernel.poweroff_cmd",
  "kernel.usermodehelper.bset",
  "fs.binfmt_misc.register",
  "fs/binfmt_misc/status",
  "kernel.modules_disabled",
  "vm.drop_caches",
  "net.ipv4.route.flush",
];

describe("checkSysctl", () => {
  it.each(Object.entries(GOOD))("lets %s be %s", (key, value) => {
    expect(checkSysctl(key, value)).toBeUndefined();
  });

  it.each(DENIED)("denies %s whatever the value", (key) => {
    expect(checkSysctl(key, "1")).toMatch(/denied for good|holds no value/);
  });

  it.each([
    ["vm.swappiness", "201", "from 0 to 200"],
    ["vm.swappiness", "010", "from 0 to 200"],
    ["vm.swappiness", "0x10", "from 0 to 200"],
    ["vm.swappiness", "", "from 0 to 200"],
    ["vm.swappiness", "1\n2", "from 0 to 200"],
    ["kernel.shmmax", "18446744073709551616", "from 1 to"],
    ["net.ipv4.ip_forward", "2", "0 or 1"],
    ["net.ipv4.tcp_rmem", "4096 1024 8192", "none smaller"],
    ["net.ipv4.tcp_rmem", "4096 8192", "3 whole numbers"],
    ["fs.pipe-max-size", "1000000", "power of two"],
    ["net.core.default_qdisc", "fq; rm", "one lower-case word"],
    ["net.ipv4.ip_local_reserved_ports", "9-1", "ports"],
    ["net.ipv4.conf.*.rp_filter", "1", "not among"],
    ["net.ipv4.conf./.rp_filter", "1", "not among"],
    ["net.ipv4.conf.//.rp_filter", "1", "not among"],
    ["net.ipv4.conf.a-name-that-is-too-long.rp_filter", "1", "not among"],
    ["net.ipv4.conf.eth0.gc_thresh1", "1", "not among"],
    ["net.ipv4.neigh.eth0.gc_thresh1", "1", "not among"],
    ["toString", "1", "not among"],
    ["", "1", "not among"],
  ])("refuses %s = %j", (key, value, fragment) => {
    expect(checkSysctl(key, value)).toContain(fragment);
  });

  it("has no rule for what is denied, and words for each rule", () => {
    for (const key of SYSCTL_RULES.keys()) {
      expect(checkSysctl(key, "x") ?? "").not.toMatch(/denied for good|holds no value/);
      if (!key.includes("*")) expect(describeSysctl(key), key).toBeTruthy();
    }
  });

  it("never lets a key leave /proc/sys by its path", () => {
    const part = fc.constantFrom("net", "ipv4", "conf", "neigh", "..", ".", "/", "//", "rp_filter", "eth0", "all", "kernel", "");
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const key = parts.join(".");
        if (checkSysctl(key, "1") === undefined) expect(sysctlPath(key).split("/")).not.toContain("..");
      }),
    );
  });
});

describe("checkSysctls", () => {
  it("has nothing to say of a good profile", () => {
    expect(checkSysctls(GOOD)).toEqual([]);
  });

  it.each([
    ["32768 60999", undefined, undefined],
    ["1024 29999", undefined, undefined],
    ["1024 65535", undefined, "overlaps"],
    ["32767 60999", undefined, "overlaps"],
    ["10000 30000", undefined, "overlaps"],
    ["1024 65535", "30000-32767", undefined],
    ["1024 65535", "30000-31000,31001-32767", undefined],
    ["1024 65535", "30000-31000,31002-32767", "overlaps"],
    ["31000 60000", "31000-40000", undefined],
    ["80 29999", undefined, "below the first unprivileged port"],
  ])("of ip_local_port_range %s with %s reserved it says %s", (range, reserved, fragment) => {
    const values = {
      "net.ipv4.ip_local_port_range": range,
      ...(reserved === undefined ? {} : { "net.ipv4.ip_local_reserved_ports": reserved }),
    };
    const messages = checkSysctls(values).map(({ message }) => message);
    if (fragment === undefined) expect(messages).toEqual([]);
    else expect(messages.join()).toContain(fragment);
  });

  it("refuses what cannot hold together", () => {
    expect(checkSysctls({ "vm.dirty_ratio": 10, "vm.dirty_bytes": 1_000_000 })[0]?.message).toContain("cannot be set together");
    expect(checkSysctls({ "net.ipv6.neigh.default.gc_thresh2": 10, "net.ipv6.neigh.default.gc_thresh3": 9 })[0]?.message).toContain(
      "less than",
    );
  });

  it("names the key that was probably meant", () => {
    const hintOf = (key: string): string => checkSysctls({ [key]: 1 })[0]!.hint;
    expect(hintOf("net.ipv4.conf.eth1.rp_filtr")).toBe("did you mean net.ipv4.conf.eth1.rp_filter?");
    expect(hintOf("net/core/somaxconn")).toBe("write it with dots: net.core.somaxconn");
    expect(hintOf("vm.swapiness")).toBe("did you mean vm.swappiness?");
  });
});

describe("canonicalSysctlValue", () => {
  it("folds blanks, and prints ports as the kernel does", () => {
    expect(canonicalSysctlValue("net.ipv4.tcp_rmem", " 1\t2  3\n")).toBe("1 2 3");
    expect(canonicalSysctlValue("net.ipv4.ip_local_reserved_ports", "30001-32767, 8080,30000")).toBe("8080,30000-32767");
  });

  it("changes nothing the second time", () => {
    const ports = fc
      .array(fc.tuple(fc.nat(65_535), fc.nat(65_535)).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`))
      .map((parts) => parts.join(","));
    fc.assert(
      fc.property(ports, (text) => {
        const once = canonicalSysctlValue("net.ipv4.ip_local_reserved_ports", text);
        expect(canonicalSysctlValue("net.ipv4.ip_local_reserved_ports", once)).toBe(once);
        expect(checkSysctl("net.ipv4.ip_local_reserved_ports", once)).toBeUndefined();
      }),
    );
  });
});

describe("sysctlPath", () => {
  it("swaps dots and slashes", () => {
    expect(sysctlPath("net.ipv4.conf.eth0/100.rp_filter")).toBe("net/ipv4/conf/eth0.100/rp_filter");
  });
});
