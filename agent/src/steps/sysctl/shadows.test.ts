import { describe, expect, it } from "vitest";
import { shadowsOf, sourcesAfterOurs } from "./shadows.ts";

const values = { "net.core.somaxconn": "4096" };
const source = (path: string, text: string) => ({ path, text });

describe("who sets our keys after us", () => {
  it.each([
    ["a later name", [source("/usr/lib/sysctl.d/99-x.conf", "net.core.somaxconn=128")], "/usr/lib/sysctl.d/99-x.conf:1"],
    ["/etc/sysctl.conf", [source("/etc/sysctl.conf", "# c\n\nnet.core.somaxconn = 128")], "/etc/sysctl.conf:3"],
    ["slashes in the key", [source("/run/sysctl.d/95.conf", "net/core/somaxconn=1")], "/run/sysctl.d/95.conf:1"],
    ["a forgiving line", [source("/etc/sysctl.d/99.conf", "-net.core.somaxconn = 1")], "/etc/sysctl.d/99.conf:1"],
    ["an earlier name", [source("/etc/sysctl.d/10-x.conf", "net.core.somaxconn=128")], undefined],
    ["our own name elsewhere", [source("/usr/lib/sysctl.d/90-drover.conf", "net.core.somaxconn=128")], undefined],
    ["the same value", [source("/etc/sysctl.d/99-x.conf", "net.core.somaxconn\t=\t4096")], undefined],
    ["a comment", [source("/etc/sysctl.d/99-x.conf", ";net.core.somaxconn=1")], undefined],
    ["a file that is no .conf", [source("/etc/sysctl.d/99-x.conf.bak", "net.core.somaxconn=1")], undefined],
    ["an exclusion from patterns", [source("/etc/sysctl.d/99-x.conf", "-net.core.somaxconn")], undefined],
  ])("%s", (_what, found, expected) => {
    const [shadow] = shadowsOf(values, sourcesAfterOurs(found));
    expect(shadow && `${shadow.path}:${shadow.lineNumber}`).toBe(expected);
  });

  it("lets the directory of higher precedence hide a file of the same name", () => {
    const found = [source("/usr/lib/sysctl.d/99-x.conf", "net.core.somaxconn=1"), { path: "/etc/sysctl.d/99-x.conf", text: undefined }];
    expect(shadowsOf(values, sourcesAfterOurs(found))).toEqual([]);
  });

  it("names the last of several, whatever directory it is in", () => {
    const found = [
      source("/etc/sysctl.d/98-a.conf", "net.core.somaxconn=1"),
      source("/usr/lib/sysctl.d/99-b.conf", "net.core.somaxconn=2"),
    ];
    expect(shadowsOf(values, sourcesAfterOurs(found))).toMatchObject([{ path: "/usr/lib/sysctl.d/99-b.conf", value: "2", isGlob: false }]);
  });

  it("tells a pattern apart, which reaches over no separator, and minds its exclusions", () => {
    const keys = { "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0" };
    const text = "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.default.rp_filter\nnet.*.rp_filter = 3\n";
    expect(shadowsOf(keys, sourcesAfterOurs([source("/etc/sysctl.d/99-x.conf", text)]))).toEqual([
      { key: "net.ipv4.conf.all.rp_filter", path: "/etc/sysctl.d/99-x.conf", lineNumber: 1, value: "2", isGlob: true },
    ]);
  });
});
