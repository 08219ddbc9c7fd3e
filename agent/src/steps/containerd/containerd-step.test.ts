import { VirtualClock } from "@drover/lifecycle";
import { type ContainerdSpec, Impact } from "@drover/proto";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { FakeCrash, fakeHost, type FakeHostOptions, fakeStepContext } from "../../fake/index.ts";
import { realContainerd, removeRealContainerdFiles } from "../../fake/real-containerd.ts";
import { isSameToml, parseToml, type TomlTable, valueAt } from "../../format/toml.ts";
import { StepError } from "../step.ts";
import { containerdStep } from "./containerd-step.ts";
import { CONFIG_PATH } from "./effective.ts";

const CRI = ["plugins", "io.containerd.grpc.v1.cri"];
const HOSTS = "/etc/containerd/certs.d/docker.io/hosts.toml";
const OPERATORS = `# mine
version = 2
oom_score = -5

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
`;

afterAll(removeRealContainerdFiles);

function specOf(parts: Partial<ContainerdSpec>): ContainerdSpec {
  return { ...containerdStep.emptySpec, ...parts };
}

const dockerMirror = specOf({
  registries: [
    {
      host: "docker.io",
      server: "https://registry-1.docker.io",
      mirrors: [{ url: "http://10.0.0.1:5000", capabilities: [], skipVerify: false, caPem: "", overridePath: false }],
    },
  ],
});

/** The installed containerd prints the dumps; restarting it is the fake's. */
function machine(options: FakeHostOptions = {}) {
  const clock = new VirtualClock();
  const host = fakeHost({ files: { [CONFIG_PATH]: OPERATORS }, ...options });
  host.commands.install("/usr/bin/containerd", realContainerd(host.files));
  const context = fakeStepContext(host, { clock });
  const observe = (spec: ContainerdSpec) => containerdStep.observe(spec, context);
  const diff = async (spec: ContainerdSpec) => containerdStep.diff(spec, await observe(spec));
  const refuse = async (spec: ContainerdSpec) => containerdStep.refuse(spec, await observe(spec));
  const apply = async (spec: ContainerdSpec) => whileTimePasses(clock, containerdStep.apply(spec, await diff(spec), context));
  const config = () => tableOf(host.files.text(CONFIG_PATH) ?? "");
  return { host, context, observe, diff, refuse, apply, config };
}

/** Turns the clock until the work has ended. */
async function whileTimePasses<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  const state = { isOver: false };
  const over = work.finally(() => {
    state.isOver = true;
  });
  over.catch(() => undefined);
  while (!state.isOver) await clock.advance(100);
  return over;
}

function tableOf(text: string): TomlTable {
  const parsing = parseToml(text);
  if (!parsing.ok) throw new Error(parsing.message);
  return parsing.table;
}

async function failureOf(work: Promise<unknown>): Promise<StepError> {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  expect(error).toBeInstanceOf(StepError);
  return error as StepError;
}

describe("the containerd step on containerd 1.6", () => {
  it("sets its keys in the operator's file, restarts once, and is in sync afterwards", async () => {
    const { host, apply, diff, config } = machine();
    const spec = specOf({ sandboxImage: "registry.k8s.io/pause:3.9", maxConcurrentDownloads: 10, restrictOomScoreAdj: true });
    expect(await diff(spec)).toMatchObject([
      {
        path: 'plugins."io.containerd.grpc.v1.cri".sandbox_image',
        from: "registry.k8s.io/pause:3.6",
        to: "registry.k8s.io/pause:3.9",
        impact: Impact.IMPACT_RESTART,
      },
      { path: 'plugins."io.containerd.grpc.v1.cri".max_concurrent_downloads', from: "3", to: "10" },
      { path: 'plugins."io.containerd.grpc.v1.cri".restrict_oom_score_adj', from: "false", to: "true" },
    ]);
    await apply(spec);
    expect(host.effects.of("units.restart")).toHaveLength(1);
    expect(await diff(spec)).toEqual([]);
    expect(valueAt(config(), [...CRI, "cni", "bin_dir"])).toBe("/usr/lib/cni");
    expect(config()["oom_score"]).toBe(-5n);
    expect(host.files.paths.filter((path) => path.startsWith("/etc/containerd"))).toEqual([CONFIG_PATH]);
  });

  it("keeps runc whole when it sets one of its options or adds another runtime, though containerd would forget it", async () => {
    const { apply, diff, config, observe } = machine();
    const spec = specOf({
      systemdCgroup: true,
      runtimes: [{ name: "kata", runtimeType: "io.containerd.kata.v2", options: { ConfigPath: '"/etc/kata.toml"' } }],
      defaultRuntime: "kata",
    });
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    const runtimes = valueAt(config(), [...CRI, "containerd", "runtimes"]);
    expect(runtimes).toMatchObject({
      runc: { runtime_type: "io.containerd.runc.v2", options: { SystemdCgroup: true, BinaryName: "" } },
      kata: { runtime_type: "io.containerd.kata.v2", options: { ConfigPath: "/etc/kata.toml" } },
    });
    const only = specOf({ systemdCgroup: true });
    await apply(only);
    expect(await diff(only)).toEqual([]);
    expect(valueAt((await observe(only)).effective, [...CRI, "containerd", "runtimes", "kata"])).toBeUndefined();
    expect(valueAt((await observe(only)).effective, [...CRI, "containerd", "default_runtime_name"])).toBe("runc");
  });

  it("sets the cgroup driver of every runtime that runs runc", async () => {
    const nvidia = `version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
`;
    const { apply, config, host } = machine({ files: { [CONFIG_PATH]: nvidia } });
    await apply(specOf({ systemdCgroup: true }));
    expect(valueAt(config(), [...CRI, "containerd", "runtimes", "nvidia", "options"])).toEqual({
      BinaryName: "/usr/bin/nvidia-container-runtime",
      SystemdCgroup: true,
    });
    await apply(containerdStep.emptySpec);
    expect(host.files.text(CONFIG_PATH)).toBe(nvidia);
  });

  it("gives the operator's text back, comments too, when the step leaves the plan", async () => {
    const { host, context, apply, diff } = machine();
    await apply(specOf({ ...dockerMirror, sandboxImage: "a/pause:1", systemdCgroup: true }));
    await apply(specOf({ sandboxImage: "a/pause:2" }));
    expect(host.files.text(HOSTS)).toBeUndefined();
    expect(await diff(containerdStep.emptySpec)).toMatchObject([{ from: "a/pause:2", to: "", note: "left the plan" }]);
    await apply(containerdStep.emptySpec);
    expect(host.files.text(CONFIG_PATH)).toBe(OPERATORS);
    expect(await context.memory.get()).toBeUndefined();
  });

  it("makes a file where there was none, and removes it again", async () => {
    const { host, apply, diff } = machine({ files: {} });
    const spec = specOf({ sandboxImage: "a/pause:1", systemdCgroup: true });
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    await apply(containerdStep.emptySpec);
    expect(host.files.paths).toEqual([]);
  });

  it("leaves what somebody else has changed since", async () => {
    const { host, apply, diff, config } = machine();
    await apply(specOf({ sandboxImage: "a/pause:1" }));
    host.files.put(CONFIG_PATH, (host.files.text(CONFIG_PATH) ?? "").replace("a/pause:1", "b/pause:2"));
    expect(await diff(containerdStep.emptySpec)).toMatchObject([{ from: "b/pause:2", to: "b/pause:2", impact: Impact.IMPACT_LIVE }]);
    await apply(containerdStep.emptySpec);
    expect(valueAt(config(), [...CRI, "sandbox_image"])).toBe("b/pause:2");
    expect(await diff(containerdStep.emptySpec)).toEqual([]);
  });

  it("writes hosts.toml and CAs without a restart once config_path is set", async () => {
    const { host, apply, diff } = machine();
    await apply(dockerMirror);
    expect(host.files.text(HOSTS)).toBe(
      [
        "# Written by drover-agent from this node's plan. It is written anew when it differs:",
        "# change the node's NodeProfile instead.",
        "",
        'server = "https://registry-1.docker.io"',
        "",
        '[host."http://10.0.0.1:5000"]',
        'capabilities = [ "pull", "resolve" ]',
        "",
      ].join("\n"),
    );
    host.effects.clear();
    const [registry] = dockerMirror.registries;
    const more = specOf({
      registries: [
        registry!,
        {
          host: "10.0.0.5:5000",
          server: "",
          mirrors: [{ url: "https://m:1/x", capabilities: ["pull"], skipVerify: true, caPem: "CA", overridePath: true }],
        },
      ],
    });
    const changes = await diff(more);
    expect(changes.every((change) => change.impact === Impact.IMPACT_LIVE)).toBe(true);
    await apply(more);
    expect(host.effects.of("units.restart")).toEqual([]);
    expect(await diff(more)).toEqual([]);
    expect(host.files.text("/etc/containerd/certs.d/10.0.0.5:5000/drover-ca-1.pem")).toBe("CA\n");
    expect(tableOf(host.files.text("/etc/containerd/certs.d/10.0.0.5:5000/hosts.toml") ?? "")).toEqual({
      host: {
        "https://m:1/x": {
          capabilities: ["pull"],
          ca: "/etc/containerd/certs.d/10.0.0.5:5000/drover-ca-1.pem",
          skip_verify: true,
          override_path: true,
        },
      },
    });
    await apply(dockerMirror);
    expect(host.files.paths.filter((path) => path.includes("10.0.0.5"))).toEqual([]);
  });

  it("gives an operator's hosts.toml back", async () => {
    const { host, apply } = machine({ files: { [CONFIG_PATH]: OPERATORS, [HOSTS]: 'server = "https://theirs"\n' } });
    await apply(dockerMirror);
    await apply({ ...dockerMirror, sandboxImage: "a/b:1" });
    await apply(containerdStep.emptySpec);
    expect(host.files.text(HOSTS)).toBe('server = "https://theirs"\n');
  });

  it("puts certs.d before directories that the operator named", async () => {
    const own = `version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/mine"\n`;
    const { apply, config, host, diff } = machine({ files: { [CONFIG_PATH]: own } });
    await apply(dockerMirror);
    expect(valueAt(config(), [...CRI, "registry", "config_path"])).toBe("/etc/containerd/certs.d:/etc/mine");
    expect(await diff(dockerMirror)).toEqual([]);
    await apply(containerdStep.emptySpec);
    expect(host.files.text(CONFIG_PATH)).toBe(own);
  });

  it("does not restart or write when all is as desired already", async () => {
    const { host, apply } = machine();
    await apply(specOf({ sandboxImage: "registry.k8s.io/pause:3.6" }));
    expect(host.effects.of("units.restart")).toEqual([]);
    expect(host.files.text(CONFIG_PATH)).toBe(OPERATORS);
  });

  it("starts no program to see that nothing has changed since it last looked, unless imported files may have", async () => {
    const programs = { "/usr/bin/containerd": "x" };
    for (const [text, expected] of [
      [OPERATORS, 0],
      [OPERATORS.replace("oom_score = -5", 'imports = ["/nowhere/*.toml"]'), 1],
    ] as const) {
      const { host, diff } = machine({ files: { ...programs, [CONFIG_PATH]: text } });
      const spec = specOf({ sandboxImage: "registry.k8s.io/pause:3.6" });
      await diff(spec);
      host.effects.clear();
      expect(await diff(spec)).toEqual([]);
      expect(host.effects.of("commands.run")).toHaveLength(expected);
      host.effects.clear();
      host.files.put("/usr/bin/containerd", "another");
      await diff(spec);
      expect(host.effects.of("commands.run")).toHaveLength(2);
    }
  });

  it("does not take for the file's what containerd says of the file that somebody has put in its place meanwhile", async () => {
    const { host, apply, diff } = machine({ files: { "/usr/bin/containerd": "x", [CONFIG_PATH]: OPERATORS } });
    const spec = specOf({ sandboxImage: "a/pause:1" });
    await apply(spec);
    const ours = host.files.text(CONFIG_PATH)!;
    const theirs = ours.replace("a/pause:1", "a/pause:2");
    const real = realContainerd(host.files);
    let runs = 0;
    host.commands.install("/usr/bin/containerd", (command) => {
      runs += 1;
      host.files.put(CONFIG_PATH, theirs);
      return real(command);
    });
    // Another size of the program: nothing is recalled.
    host.files.put("/usr/bin/containerd", "xy");
    expect(await diff(spec)).toMatchObject([{ from: "a/pause:2", to: "a/pause:1" }]);
    expect(runs).toBeGreaterThan(1);
    host.commands.install("/usr/bin/containerd", real);
    host.files.put(CONFIG_PATH, ours);
    expect(await diff(spec)).toEqual([]);
  });

  it("refuses to change what is not its own, naming the keys, and changes nothing", async () => {
    const { host, apply } = machine();
    const real = realContainerd(host.files);
    host.commands.install("/usr/bin/containerd", async (command) => {
      const result = await real(command);
      const isCandidate = command.args.some((arg) => arg.endsWith("candidate")) && (result.stdout ?? "").includes("a/pause:1");
      return isCandidate
        ? { ...result, stdout: (result.stdout ?? "").replace('snapshotter = "overlayfs"', 'snapshotter = "native"') }
        : result;
    });
    host.effects.clear();
    const failure = await failureOf(apply(specOf({ ...dockerMirror, sandboxImage: "a/pause:1" })));
    expect(failure).toMatchObject({ reason: "UnrelatedChange", isRetryable: false });
    expect(failure.message).toContain('plugins."io.containerd.grpc.v1.cri".containerd.snapshotter');
    expect(host.files.text(CONFIG_PATH)).toBe(OPERATORS);
    expect(host.files.paths.filter((path) => path.startsWith("/etc"))).toEqual([CONFIG_PATH]);
    expect(host.effects.of("units.restart")).toEqual([]);
  });

  it("does not write what redaction made of a secret", async () => {
    const { host, apply } = machine({
      files: { [CONFIG_PATH]: 'version = 1\n[plugins.cri.registry.auths."https://a"]\npassword = "hunter2"\n' },
    });
    const real = realContainerd(host.files);
    host.commands.install("/usr/bin/containerd", async (command) => {
      const result = await real(command);
      return { ...result, stdout: (result.stdout ?? "").replace("hunter2", "[redacted]") };
    });
    expect(await failureOf(apply(specOf({ sandboxImage: "a/b:1" })))).toMatchObject({ reason: "SecretsInTheWay" });
    expect(host.files.text(CONFIG_PATH)).toContain("hunter2");
  });

  it("brings a file of version 1 to version 2 and back", async () => {
    const own = '[plugins.cri]\nstream_server_port = "7"\n';
    const { host, apply, diff, config } = machine({ files: { [CONFIG_PATH]: own } });
    const spec = specOf({ sandboxImage: "a/b:1", systemdCgroup: true });
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    expect(config()["version"]).toBe(2n);
    expect(valueAt(config(), [...CRI, "stream_server_port"])).toBe("7");
    await apply(containerdStep.emptySpec);
    expect(host.files.text(CONFIG_PATH)).toBe(own);
  });

  it.each<[string, string, Partial<ContainerdSpec>, string]>([
    [
      "inline mirrors",
      `[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://a"]`,
      dockerMirror,
      "InlineMirrors",
    ],
    [
      "inline TLS",
      `[plugins."io.containerd.grpc.v1.cri".registry.configs."docker.io".tls]\ninsecure_skip_verify = true`,
      dockerMirror,
      "InlineMirrors",
    ],
    ["a missing mount", "", { rootDir: "/data/containerd", requiredMount: "/data" }, "MountMissing"],
    ["an unknown default runtime", "", { defaultRuntime: "kata" }, "UnknownRuntime"],
    ["an option that is no TOML", "", { runtimes: [{ name: "x", runtimeType: "y", options: { a: "1\nb = 2" } }] }, "InvalidRuntime"],
    ["a host that reaches out", "", { registries: [{ host: "../x", server: "", mirrors: [] }] }, "InvalidRegistry"],
    ["a file that is no TOML", "[plugins", { sandboxImage: "a/b:1" }, "ConfigUnreadable"],
    ["a file that containerd does not take", `root = 3`, { sandboxImage: "a/b:1" }, "ConfigUnreadable"],
  ])("refuses %s", async (_what, text, parts, reason) => {
    const { refuse } = machine({ files: { [CONFIG_PATH]: `version = 2\n${text}\n` } });
    expect((await refuse(specOf(parts)))?.reason).toBe(reason);
  });

  it("refuses a file of a newer schema, an unknown containerd, and none at all", async () => {
    const { host, refuse } = machine({ files: { [CONFIG_PATH]: "version = 3\n" } });
    const spec = specOf({ sandboxImage: "a/b:1" });
    expect((await refuse(spec))?.reason).toBe("ConfigTooNew");
    host.commands.install("/usr/bin/containerd", () => ({ stdout: "containerd github.com/containerd/containerd 1.4.13 abc" }));
    expect((await refuse(spec))?.reason).toBe("UnsupportedContainerd");
    host.commands.install("/usr/bin/containerd", undefined);
    expect((await refuse(spec))?.reason).toBe("ContainerdNotInstalled");
  });

  it("takes a mounted root and state directory", async () => {
    const { apply, config } = machine({ mountPoints: ["/data"] });
    await apply(specOf({ rootDir: "/data/containerd", stateDir: "/run/x", requiredMount: "/data" }));
    expect(config()).toMatchObject({ root: "/data/containerd", state: "/run/x" });
  });

  it("only writes files on an image, in the schema of its package", async () => {
    const status = "Package: containerd\nStatus: install ok installed\nVersion: 1.6.20~ds1-1+deb12u3\n";
    const { host, apply, diff, config } = machine({ isLive: false, files: { "/var/lib/dpkg/status": status } });
    const spec = specOf({ ...dockerMirror, systemdCgroup: true });
    await apply(spec);
    expect(await diff(spec)).toEqual([]);
    expect(host.effects.of("commands.run")).toEqual([]);
    expect(host.effects.of("units.restart")).toEqual([]);
    expect(valueAt(config(), [...CRI, "containerd", "runtimes", "runc"])).toEqual({
      runtime_type: "io.containerd.runc.v2",
      options: { SystemdCgroup: true },
    });
  });
});

describe("when CRI does not answer after the restart", () => {
  const spec = specOf({ ...dockerMirror, sandboxImage: "a/pause:1" });

  function breakingMachine(isBrokenForGood = false) {
    return machine({
      onRestart: (_unit, host) => {
        const isOurs = (host.files.text(CONFIG_PATH) ?? "").includes("a/pause:1");
        host.containerd.breakCri(isOurs || isBrokenForGood ? "cri plugin failed" : undefined);
      },
    });
  }

  it("goes back to the files before, restarts, and verifies that CRI answers again", async () => {
    const { host, context, apply, observe } = breakingMachine();
    const failure = await failureOf(apply(spec));
    expect(failure).toMatchObject({ reason: "CriNotAnswering", isRetryable: false, isUndone: true });
    expect(failure.message).toContain("CRI answers again");
    expect(host.files.text(CONFIG_PATH)).toBe(OPERATORS);
    expect(host.files.text(HOSTS)).toBeUndefined();
    expect(host.effects.of("units.restart")).toHaveLength(2);
    expect(await context.memory.get()).toBeUndefined();
    expect(containerdStep.conditions(spec, await observe(spec))).toMatchObject([
      { type: "Containerd", status: "True", reason: "CriReady" },
    ]);
  });

  it("says so when it does not answer with the old files either", async () => {
    const { apply, observe } = breakingMachine(true);
    expect((await failureOf(apply(spec))).message).toContain("back as they were, but CRI did not answer for 60 s");
    expect(containerdStep.conditions(spec, await observe(spec))).toMatchObject([{ status: "False", reason: "RuntimeNotReady" }]);
  });

  it("is taken back at once when it is undone while CRI is still waited for (I4), wherever it was killed", async () => {
    for (let survived = 1; survived < 60; survived += 1) {
      const { host, context, apply, observe } = breakingMachine();
      host.effects.crashAfter(survived);
      const died = await apply(spec).catch((error: unknown) => error);
      host.effects.revive();
      if (!(died instanceof FakeCrash)) return expect(survived).toBeGreaterThan(15);
      const startedMs = context.clock.monotonicMs();
      // Undone are changes that there are.
      const before = await observe(containerdStep.emptySpec);
      const changes = containerdStep.diff(containerdStep.emptySpec, before);
      if (changes.length > 0) await containerdStep.apply(containerdStep.emptySpec, changes, { ...context, isUndo: true });
      expect([host.files.text(CONFIG_PATH), host.files.text(HOSTS), await context.memory.get()]).toEqual([OPERATORS, undefined, undefined]);
      expect(containerdStep.conditions(spec, await observe(spec))).toMatchObject([{ status: "True" }]);
      expect(context.clock.monotonicMs()).toBe(startedMs);
    }
    expect.unreachable("the plan has fewer effects than that");
  });

  it("killed before any effect, also on the way back, ends with the old files and a CRI that answers", async () => {
    for (let survived = 0; survived < 60; survived += 1) {
      const { host, context, apply, observe } = breakingMachine();
      host.effects.crashAfter(survived);
      const first = await apply(spec).catch((error: unknown) => error);
      host.effects.revive();
      if (!(first instanceof FakeCrash)) {
        expect(survived).toBeGreaterThan(15);
        return;
      }
      expect(await failureOf(apply(spec))).toMatchObject({ reason: "CriNotAnswering" });
      expect([host.files.text(CONFIG_PATH), host.files.text(HOSTS), await context.memory.get()]).toEqual([OPERATORS, undefined, undefined]);
      expect(containerdStep.conditions(spec, await observe(spec))).toMatchObject([{ status: "True" }]);
    }
    expect.unreachable("the plan has fewer effects than that");
  });
});

describe("a killed agent", () => {
  const first = specOf({ ...dockerMirror, systemdCgroup: true });
  const second = specOf({ sandboxImage: "a/pause:2" });

  it.each([
    ["the same plan", first],
    ["another plan", second],
    ["no plan", containerdStep.emptySpec],
  ])("is followed by one that ends in sync with %s, and all can be taken back", async (_what, next) => {
    for (let survived = 0; survived < 60; survived += 1) {
      const { host, context, apply, diff } = machine();
      host.effects.crashAfter(survived);
      const died = await apply(first).catch((error: unknown) => error);
      host.effects.revive();
      if (survived % 2 === 1) host.kernel.reboot("another boot");
      if ((await diff(next)).length > 0) await apply(next);
      expect(await diff(next)).toEqual([]);
      if ((await diff(containerdStep.emptySpec)).length > 0) await apply(containerdStep.emptySpec);
      expect([host.files.text(CONFIG_PATH), host.files.paths.length, await context.memory.get()]).toEqual([OPERATORS, 1, undefined]);
      if (!(died instanceof FakeCrash)) return;
    }
    expect.unreachable("the plan has fewer effects than that");
  });
});

describe("properties, on the installed containerd", () => {
  const text = fc.constantFrom("a/pause:1", "b/pause:2");
  const spec = fc
    .record(
      {
        sandboxImage: text,
        systemdCgroup: fc.boolean(),
        maxConcurrentDownloads: fc.integer({ min: 1, max: 9 }),
        restrictOomScoreAdj: fc.boolean(),
        rootDir: fc.constant("/data/containerd"),
        registries: fc.constant(dockerMirror.registries),
        runtimes: fc.constant([{ name: "kata", runtimeType: "io.containerd.kata.v2", options: { Level: "3" } }]),
      },
      { requiredKeys: [] },
    )
    .map((parts) => specOf(parts as unknown as Partial<ContainerdSpec>));
  const operators = fc
    .subarray([
      'imports = ["/nowhere/*.toml"]',
      "oom_score = -7",
      '[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/x"',
      '[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "native"',
      '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"',
      '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]\nruntime_type = "io.containerd.runc.v2"',
      '[plugins."io.containerd.gc.v1.scheduler"]\npause_threshold = 1.0',
      '[proxy_plugins."a b"]\ntype = "snapshot"\naddress = "/run/x.sock"',
    ])
    .map((parts) => `# theirs\nversion = 2\n${parts.join("\n")}\n`);

  it("keeps every foreign key, applies twice as once, and gives the original back", async () => {
    await fc.assert(
      fc.asyncProperty(operators, fc.array(spec, { minLength: 1, maxLength: 3 }), async (own, specs) => {
        const { host, context, apply, diff, config } = machine({ files: { [CONFIG_PATH]: own } });
        for (const each of specs) {
          if ((await diff(each)).length > 0) await apply(each);
          expect(await diff(each)).toEqual([]);
          const memory = (await context.memory.get()) as { keys?: { path: string[] }[] } | undefined;
          const ours = new Set(memory?.keys?.map((key) => JSON.stringify(key.path)));
          for (const path of [
            ["oom_score"],
            ["imports"],
            [...CRI, "cni", "bin_dir"],
            [...CRI, "containerd", "snapshotter"],
            ["proxy_plugins"],
          ]) {
            if (!ours.has(JSON.stringify(path))) expect(isSameToml(valueAt(config(), path), valueAt(tableOf(own), path))).toBe(true);
          }
        }
        if ((await diff(containerdStep.emptySpec)).length > 0) await apply(containerdStep.emptySpec);
        expect([host.files.text(CONFIG_PATH), host.files.paths.length, await context.memory.get()]).toEqual([own, 1, undefined]);
      }),
      { numRuns: 12 },
    );
  });
});
