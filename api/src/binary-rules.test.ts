import { describe, expect, it } from "vitest";
import { checkBinaries, formatPath, formatProblem, malformedBinary, parseManifests } from "./index.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;

function problems(spec: string): string[] {
  const parsing = parseManifests(`apiVersion: drover.dev/v1alpha1\nkind: NodeProfile\nmetadata: { name: x }\nspec:\n${spec}`, "p.yaml");
  return parsing.ok ? [] : parsing.problems.map(formatProblem);
}

const binary = (name: string, target: string, source = "https://dl.example/x"): string =>
  `    - name: ${name}\n      source: ${source}\n      digest: ${DIGEST}\n      files:\n        - target: ${target}\n`;

function faults(parts: { target?: string; source?: string; members?: readonly string[] }): readonly string[] {
  const files = (parts.members ?? [""]).map((member, index) => ({
    member,
    target: index === 0 ? (parts.target ?? "/opt/bin/a") : `/opt/bin/a${index}`,
  }));
  const findings = checkBinaries([{ name: "a", source: parts.source ?? "https://dl.example/a", files }], []);
  return findings.map(({ path, message }) => `${formatPath(path)}: ${message}`);
}

describe("binaries of a profile", () => {
  it("pass where Kubernetes' programs live", () => {
    const targets = ["/usr/bin/kubelet", "/usr/local/bin/anything", "/opt/cni/bin/bridge", "/usr/sbin/runc", "/usr/libexec/cni/host-local"];
    expect(problems(`  binaries:\n${targets.map((target, index) => binary(`b${index}`, target)).join("")}`)).toEqual([]);
  });

  it("are told by line and column, one name and one target each", () => {
    expect(problems(`  binaries:\n${binary("a", "/opt/bin/a")}${binary("a", "/opt/bin/a")}`)).toEqual([
      expect.stringMatching(/^p\.yaml:11:13: spec\.binaries\[1\]\.name: is already item 0 of this list/),
      expect.stringMatching(/^p\.yaml:15:19: spec\.binaries\[1\]\.files\[0\]\.target: is already a target of a/),
    ]);
    expect(problems(`  binaries:\n${binary("a", "/etc/cron.d/a")}`)).toEqual([
      expect.stringMatching(/^p\.yaml:10:19: spec\.binaries\[0\]\.files\[0\]\.target: is in no directory where programs may be put/),
    ]);
  });

  it.each([
    "/usr/bin/bash",
    "/usr/sbin/init",
    "/usr/local/bin/sub/kubelet",
    "/usr/local/bin/../../etc/x",
    "/usr/local/bin/",
    "/usr/local/bin/.hidden",
    "/usr/local/bin/-rf",
    "/usr/local/bin/a b",
    "/usr/local/bin/a\n",
    "/usr/local/bin/a.before-drover",
    "/usr/local/bin/drover-agent",
    "/bin/kubelet",
    "kubelet",
    "",
  ])("may not be put at %j", (target) => {
    expect(faults({ target })).toHaveLength(1);
  });

  it.each([
    "https://user:secret@dl.example/a",
    "https://token@dl.example/a",
    "ftp://dl.example/a",
    "relative",
    "/proc/1/exe",
    "/a/../etc/shadow",
    "/a\0",
  ])("do not come from %j, and what is secret in it is not repeated", (source) => {
    const [fault, ...others] = faults({ source });
    expect(others).toEqual([]);
    expect(fault).not.toMatch(/secret|token/);
  });

  it("come from an archive or are the file itself, not both, and no member climbs out", () => {
    expect(faults({ members: ["bin/a", "b"] })).toEqual([]);
    expect(faults({ members: ["", ""] })).toEqual([]);
    expect(faults({ members: ["bin/a", ""] })).toEqual(["[0].files[1]: names no member, but another file of this source does"]);
    for (const member of ["../a", "a/../../b", "/a", "a\0", "./", "."]) expect(faults({ members: [member] })).toHaveLength(1);
  });

  it("restart no service of Drover, D-Bus or systemd", () => {
    const restarting = (...units: string[]): string[] =>
      problems(`  binaries:\n${binary("a", "/opt/bin/a")}      restarts: [${units.join(", ")}]\n`);
    expect(restarting("kubelet.service", "containerd.service", "systemd2.service")).toEqual([]);
    const denied = ["drover-agent.service", "drover.service", "dbus.service", "dbus-broker.service", "systemd-logind.service"];
    for (const unit of denied) {
      expect(restarting("kubelet.service", unit)).toEqual([
        expect.stringMatching(`spec\\.binaries\\[0\\]\\.restarts\\[1\\]: ${unit} may not be restarted by a plan`),
      ]);
    }
  });

  it("have in a plan what a profile's schema asks", () => {
    const good = { name: "a", digest: DIGEST, files: [{ member: "" }], restarts: ["kubelet.service"] };
    expect(malformedBinary(good)).toBeUndefined();
    for (const wrong of [{ digest: "sha256:../x" }, { files: [] }, { restarts: ["--now"] }, { restarts: ["a.timer"] }]) {
      expect(malformedBinary({ ...good, ...wrong })).toMatch(/^a: /);
    }
  });
});

describe("kernel modules of a profile", () => {
  it("are named once, whichever dash is written", () => {
    expect(problems("  kernelModules:\n    names: [overlay, br_netfilter, br-netfilter, overlay]\n")).toEqual([
      expect.stringMatching(
        /^p\.yaml:6:36: spec\.kernelModules\.names\[2\]: is already item 1 of this list: br_netfilter and br-netfilter are one module/,
      ),
      expect.stringMatching(/^p\.yaml:6:50: spec\.kernelModules\.names\[3\]: is already item 0 of this list/),
    ]);
    expect(problems("  kernelModules:\n    names: [overlay, br_netfilter]\n")).toEqual([]);
  });
});
