/** The containerd step on a real containerd that is really restarted, in a directory that stands for /etc/containerd. */
import { systemClock } from "@drover/lifecycle";
import type { ContainerdSpec } from "@drover/proto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fakeHost, fakeStepContext, FakeStepMemory } from "../../../agent/src/fake/index.ts";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import { ExecCommands } from "../../../agent/src/host/exec-commands.ts";
import type { Files, Host } from "../../../agent/src/host/host.ts";
import { RootedFiles } from "../../../agent/src/host/rooted-files.ts";
import { containerdStep } from "../../../agent/src/steps/containerd/containerd-step.ts";
import { CONFIG_PATH } from "../../../agent/src/steps/containerd/effective.ts";
import { type RunningContainerd, startContainerd } from "../../support/containerd/index.ts";

const ETC = "/etc/containerd";
const WILL_NOT_START = "registry.test/pause:will-not-start";

let running: RunningContainerd;
let client: ContainerdClient;
let restarts = 0;

beforeAll(async () => {
  running = await startContainerd();
  client = new ContainerdClient({ socketPath: running.socketPath });
});

afterAll(async () => {
  client?.close();
  await running?.stop();
});

function specOf(parts: Partial<ContainerdSpec>): ContainerdSpec {
  return { ...containerdStep.emptySpec, ...parts };
}

function machine() {
  const host: Host = {
    ...fakeHost(),
    files: filesUnder(running.directory),
    commands: commandsUnder(running.directory),
    units: {
      async restart() {
        restarts += 1;
        await running.kill();
        if ((await host.files.read(CONFIG_PATH))?.includes(WILL_NOT_START)) throw new Error("containerd did not start");
        await running.start();
      },
      stop: () => Promise.resolve(),
      enable: () => Promise.resolve(),
      isActive: () => Promise.resolve(true),
      daemonReload: () => Promise.resolve(),
      canReboot: () => Promise.resolve(false),
      reboot: () => Promise.reject(new Error("no step reboots")),
    },
    containerd: client,
  };
  const context = fakeStepContext(host, { clock: systemClock, memory: new FakeStepMemory() });
  const diff = async (spec: ContainerdSpec) => containerdStep.diff(spec, await containerdStep.observe(spec, context));
  return { host, context, diff, config: async () => (await host.files.read(CONFIG_PATH))?.toString() };
}

describe("the containerd step and a real containerd", () => {
  it("configures it, asks CRI, is in sync, and puts all back", async () => {
    const { context, diff, config } = machine();
    const original = await config();
    const spec = specOf({
      sandboxImage: "registry.test/pause:3.10",
      systemdCgroup: true,
      maxConcurrentDownloads: 7,
      runtimes: [{ name: "other", runtimeType: "io.containerd.runc.v2", options: { BinaryName: '"/usr/sbin/runc"' } }],
      registries: [
        {
          host: "docker.io",
          server: "",
          mirrors: [{ url: "http://127.0.0.1:1", capabilities: [], skipVerify: false, caPem: "", overridePath: false }],
        },
      ],
    });
    const before = restarts;
    await containerdStep.apply(spec, await diff(spec), context);
    expect(await diff(spec)).toEqual([]);
    expect(containerdStep.conditions(spec, await containerdStep.observe(spec, context))).toMatchObject([{ status: "True" }]);
    const again = { ...spec, registries: [{ ...spec.registries[0]!, host: "quay.io" }] };
    await containerdStep.apply(again, await diff(again), context);
    expect(restarts - before).toBe(1);
    await containerdStep.apply(containerdStep.emptySpec, await diff(containerdStep.emptySpec), context);
    expect(await config()).toBe(original);
    expect(await context.memory.get()).toBeUndefined();
    expect(await client.criStatus(context.signal)).toMatchObject({ isReady: true });
  });

  it("goes back when it does not start with the new configuration, and CRI answers again", async () => {
    const { context, diff, config } = machine();
    const original = await config();
    const spec = specOf({ sandboxImage: WILL_NOT_START });
    const failure: unknown = await containerdStep.apply(spec, await diff(spec), context).catch((error: unknown) => error);
    expect(failure).toMatchObject({ reason: "CriNotAnswering", isRetryable: false });
    expect(await config()).toBe(original);
    expect(await client.criStatus(context.signal)).toMatchObject({ isReady: true });
  });
});

/** Paths under /etc/containerd lie in the directory; nothing else is read or written there. */
function filesUnder(directory: string): Files {
  const moved = (path: string): string => (path.startsWith(ETC) ? `${directory}${path.slice(ETC.length)}` : path);
  return new (class extends RootedFiles {
    override read = (path: string, maxBytes?: number) => super.read(moved(path), maxBytes);
    override write = (path: string, content: string | Uint8Array, mode: number) => super.write(moved(path), content, mode);
    override remove = (path: string) => super.remove(moved(path));
    override list = (path: string) => super.list(moved(path));
    override stat = (path: string) => super.stat(moved(path));
    override freeBytes = (path: string) => super.freeBytes(moved(path));
  })("/");
}

function commandsUnder(directory: string): Host["commands"] {
  const commands = new ExecCommands(systemClock);
  return {
    find: (paths) => (paths.includes("/usr/bin/containerd") ? Promise.resolve(running.program) : commands.find(paths)),
    async run(command, signal) {
      const args = command.args.map((arg) => arg.replace(ETC, directory));
      const result = await commands.run({ ...command, args }, signal);
      return { ...result, stdout: result.stdout.replaceAll(`${directory}/config.toml`, CONFIG_PATH) };
    },
  };
}
