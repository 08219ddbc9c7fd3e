/**
 * What is written for each containerd, as its own binary reads it. The answers of binaries that are not installed here were
 * recorded; DROVER_RECORD_CONTAINERD=/path/to/containerd records that version's anew.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { VirtualClock } from "@drover/lifecycle";
import type { ContainerdSpec } from "@drover/proto";
import { afterAll, describe, expect, it } from "vitest";
import { type FakeProgram, fakeHost, fakeStepContext } from "../../fake/index.ts";
import { realContainerd, removeRealContainerdFiles } from "../../fake/real-containerd.ts";
import { formatToml, parseToml, type TomlTable } from "../../format/toml.ts";
import { candidateOf } from "./candidate.ts";
import { containerdStep } from "./containerd-step.ts";
import { CONFIG_PATH } from "./effective.ts";
import { schemaOf, versionOfOutput, versionOfPackages } from "./schemas.ts";
import { settingsOf } from "./settings.ts";

const RECORDED = new URL("./schema-versions.recorded.json", import.meta.url);
const recording = process.env["DROVER_RECORD_CONTAINERD"];
const recorded = JSON.parse(readFileSync(RECORDED, "utf8")) as Record<string, Record<string, string>>;

const VERSION_2 = `# Debian's
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
`;
const VERSION_3 = `version = 3
oom_score = -999

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
`;

const whole: ContainerdSpec = {
  sandboxImage: "mirror.example/pause:3.10",
  systemdCgroup: true,
  rootDir: "/data/containerd",
  stateDir: "",
  requiredMount: "",
  registries: [
    {
      host: "registry.k8s.io",
      server: "",
      mirrors: [{ url: "https://m:1", capabilities: [], skipVerify: false, caPem: "", overridePath: false }],
    },
  ],
  runtimes: [{ name: "kata", runtimeType: "io.containerd.kata.v2", options: { ConfigPath: '"/etc/kata.toml"' } }],
  defaultRuntime: "runc",
  maxConcurrentDownloads: 10,
  restrictOomScoreAdj: false,
};

afterAll(() => {
  if (recording !== undefined) writeFileSync(RECORDED, `${JSON.stringify(recorded, undefined, 1)}\n`);
  removeRealContainerdFiles();
});

describe.each(["1.6.20", "1.7.24", "2.1.9"])("containerd %s", (version) => {
  const starts: readonly (readonly [string, string | undefined])[] = [
    ["no file", undefined],
    ["version 2", VERSION_2],
    ...(version.startsWith("2.") ? [["version 3", VERSION_3] as const] : []),
  ];

  it.each(starts)("is configured from %s, stays in sync, and gets the original back", async (what, text) => {
    const host = fakeHost({ files: text === undefined ? {} : { [CONFIG_PATH]: text } });
    host.commands.install(
      "/usr/bin/containerd",
      containerdOf(version, (path) => host.files.text(path) ?? ""),
    );
    const context = fakeStepContext(host, { clock: new VirtualClock() });
    const observe = (spec: ContainerdSpec) => containerdStep.observe(spec, context);
    expect(containerdStep.refuse(whole, await observe(whole))).toBeUndefined();
    await containerdStep.apply(whole, [], context);
    expect(host.effects.of("units.restart")).toHaveLength(1);
    await expect(host.files.text(CONFIG_PATH)).toMatchFileSnapshot(`golden/${version}-from-${what.replaceAll(" ", "-")}.toml`);
    expect(containerdStep.diff(whole, await observe(whole))).toEqual([]);
    await containerdStep.apply(whole, [], context);
    expect(host.effects.of("units.restart")).toHaveLength(1);
    await containerdStep.apply(containerdStep.emptySpec, [], context);
    expect(host.files.text(CONFIG_PATH)).toBe(text);
    expect(await context.memory.get()).toBeUndefined();
  });
});

it("containerd 2.3, of which there is no binary to ask yet, has our keys where 2.1 has them, in version 4", async () => {
  const schema = schemaOf("2.3.0")!;
  const candidate = candidateOf({}, {}, settingsOf(whole, schema, {}, {}), schema, []);
  await expect(candidate.text).toMatchFileSnapshot("golden/2.3-from-no-file.toml");
});

describe("the version of containerd", () => {
  it.each([
    ["1.5.9", undefined],
    ["1.6.20~ds1", 2],
    ["v1.7.24", 2],
    ["2.0.0-rc.1", 3],
    ["2.1.9+unknown", 3],
    ["2.2.1", 3],
    ["2.3.0", 4],
    ["2.10.0", 4],
    ["3.0.0", undefined],
    ["unknown", undefined],
  ])("%s is configured in schema %s", (version, expected) => {
    expect(schemaOf(version)?.version).toBe(expected);
  });

  it.each([
    ["containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", "1.6.20~ds1"],
    ["containerd github.com/containerd/containerd/v2 2.1.9+unknown ", "2.1.9+unknown"],
    ["containerd github.com/containerd/containerd v1.7.2 0cae528", "v1.7.2"],
    ["something else", undefined],
  ])("is read from %j", (output, expected) => {
    expect(versionOfOutput(output)).toBe(expected);
  });

  it("is read from an image's package list, when the package is installed", () => {
    const other = "Package: containerd-tools\nStatus: install ok installed\nVersion: 9.9\n";
    const status = "Package: containerd.io\nStatus: install ok installed\nVersion: 1:1.7.27-1\n";
    expect(versionOfPackages(`${other}\n${status}`)).toBe("1.7.27-1");
    expect(versionOfPackages(status.replace("install ok installed", "deinstall ok config-files"))).toBeUndefined();
  });
});

describe("an upgrade of containerd", () => {
  it("is no drift, and the next change moves our keys to the new schema", async () => {
    const host = fakeHost({ files: { [CONFIG_PATH]: VERSION_2 } });
    const context = fakeStepContext(host, { clock: new VirtualClock() });
    const install = (version: string): void =>
      host.commands.install(
        "/usr/bin/containerd",
        containerdOf(version, (path) => host.files.text(path) ?? ""),
      );
    install("1.7.24");
    await containerdStep.apply(whole, [], context);
    install("2.1.9");
    expect(containerdStep.diff(whole, await containerdStep.observe(whole, context))).toEqual([]);
    const next = { ...whole, sandboxImage: "mirror.example/pause:3.11" };
    await containerdStep.apply(next, [], context);
    expect(containerdStep.diff(next, await containerdStep.observe(next, context))).toEqual([]);
    await expect(host.files.text(CONFIG_PATH)).toMatchFileSnapshot("golden/2.1.9-after-1.7.24.toml");
    await containerdStep.apply(containerdStep.emptySpec, [], context);
    expect(host.files.text(CONFIG_PATH)).toBe(VERSION_2);
  });
});

function containerdOf(version: string, textOf: (path: string) => string): FakeProgram {
  const real = recording === undefined ? undefined : realContainerd({ text: textOf }, recording);
  return async (command) => {
    const at = command.args.indexOf("--config") + 1;
    const text = at === 0 ? "" : textOf(command.args[at]!);
    const question = `${command.args.join(" ")} of ${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
    const answers = (recorded[version] ??= {});
    if (real !== undefined && (await realVersion(real)).includes(` ${version}`)) {
      const { stdout = "" } = await real(command);
      answers[question] = command.args.includes("--version") ? stdout : withoutOtherPlugins(stdout);
    }
    const stdout = answers[question];
    return stdout === undefined ? { exitCode: 1, stderr: `nothing recorded for ${question}` } : { stdout };
  };
}

async function realVersion(program: FakeProgram): Promise<string> {
  return (await program({ program: "", args: ["--version"], timeoutMs: 1000 })).stdout ?? "";
}

/** Recordings stay small: of the plugins, CRI's and one other. */
function withoutOtherPlugins(dump: string): string {
  const parsing = parseToml(dump);
  if (!parsing.ok) throw new Error(parsing.message);
  const { stream_processors: _processors, timeouts: _timeouts, plugins, ...rest } = parsing.table;
  const kept = Object.entries(plugins as TomlTable).filter(([name]) => name.includes("cri") || name === "io.containerd.internal.v1.opt");
  return formatToml({ ...rest, plugins: Object.fromEntries(kept) });
}
