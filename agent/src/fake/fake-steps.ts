/** A small step of each kind on the fake machine: for tests of what lies around steps, and for the simulation. */
import {
  type Change,
  type ContainerdSpec,
  Impact,
  type ImagesSpec,
  KubeadmSpec,
  type SpecOf,
  type StepKind,
  type SysctlSpec,
} from "@drover/proto";
import type { StepTable } from "../reconcile/engine-parts.ts";
import { type Step, StepError } from "../steps/step.ts";

const SETTINGS_PATH = "/etc/containerd/settings.json";
const PIN_LABEL = "io.cri-containerd.pinned";

/** sysctl is impact live and remembers originals, containerd is impact restart, images pull by digest. */
export function fakeSteps(): StepTable {
  return {
    binaries: inert("binaries", { binaries: [] }),
    kernelModules: inert("kernelModules", { names: [] }),
    sysctl,
    swap: inert("swap", { mode: 0 }),
    containerd,
    images,
    kubelet: inert("kubelet", { configuration: "", parallelImagePulls: false, maxParallelImagePulls: 0 }),
    kubeadm: inert("kubeadm", KubeadmSpec.create()),
  };
}

interface Sysctls {
  readonly values: Readonly<Record<string, string | undefined>>;
  readonly originals: Readonly<Record<string, string>>;
}

const sysctl: Step<"sysctl", Sysctls> = {
  kind: "sysctl",
  emptySpec: { values: {} },
  async observe(spec, { host, memory }) {
    const originals = ((await memory.get()) ?? {}) as Record<string, string>;
    const values: Record<string, string | undefined> = {};
    for (const key of [...Object.keys(spec.values), ...Object.keys(originals)]) values[key] = await host.kernel.readSysctl(key);
    return { values, originals };
  },
  refuse(spec, { values }) {
    const missing = Object.keys(spec.values).find((key) => values[key] === undefined);
    return missing === undefined ? undefined : { reason: "NoSuchKey", message: `the kernel has no ${missing}` };
  },
  diff: (spec, observed) =>
    Object.entries(wantedSysctls(spec, observed))
      .filter(([key, value]) => observed.values[key] !== value)
      .map(([key, value]) => change(key, observed.values[key] ?? "", value, Impact.IMPACT_LIVE)),
  conditions: () => [{ type: "Sysctl", status: "True", reason: "Observed", message: "" }],
  async apply(spec, changes, context) {
    const { host, memory } = context;
    const originals = { ...((await memory.get()) as Record<string, string> | undefined) };
    for (const { path, from } of changes) originals[path] ??= from;
    await memory.set(originals);
    for (const [index, { path, to }] of changes.entries()) {
      await host.kernel.writeSysctl(path, to);
      context.say(`${path} = ${to}`);
      context.progress({ item: path, phase: 2, doneBytes: index + 1, totalBytes: changes.length, message: "" });
    }
    const kept = Object.fromEntries(Object.entries(originals).filter(([key]) => key in spec.values));
    await memory.set(Object.keys(kept).length === 0 ? undefined : kept);
  },
};

function wantedSysctls(spec: SysctlSpec, { originals }: Sysctls): Record<string, string> {
  return { ...originals, ...spec.values };
}

const containerd: Step<"containerd", string | undefined> = {
  kind: "containerd",
  emptySpec: {
    sandboxImage: "",
    systemdCgroup: undefined,
    rootDir: "",
    stateDir: "",
    requiredMount: "",
    registries: [],
    runtimes: [],
    defaultRuntime: "",
    maxConcurrentDownloads: 0,
    restrictOomScoreAdj: undefined,
  },
  observe: async (_spec, { host }) => (await host.files.read(SETTINGS_PATH))?.toString(),
  refuse: () => undefined,
  diff(spec, observed) {
    const wanted = settingsOf(spec);
    return wanted === observed ? [] : [change(SETTINGS_PATH, observed ?? "", wanted ?? "", Impact.IMPACT_RESTART)];
  },
  conditions: () => [{ type: "Containerd", status: "True", reason: "Answers", message: "" }],
  async apply(spec, _changes, { host, memory, signal }) {
    const settings = settingsOf(spec);
    if (settings !== undefined) await memory.set({ isOurs: true });
    if (settings === undefined) await host.files.remove(SETTINGS_PATH);
    else await host.files.write(SETTINGS_PATH, settings, 0o644);
    await host.units.restart("containerd.service", signal);
    if (settings === undefined) await memory.set(undefined);
  },
};

function settingsOf(spec: ContainerdSpec): string | undefined {
  return spec.sandboxImage === "" ? undefined : JSON.stringify({ sandboxImage: spec.sandboxImage });
}

const images: Step<"images", ReadonlySet<string>> = {
  kind: "images",
  emptySpec: { images: [], maxParallel: 0, maxParallelPerRegistry: 0, minFreeBytes: 0 },
  observe: async (_spec, { host, signal }) =>
    new Set((await host.containerd.listImages(signal)).map((image) => `${image.name}@${image.digest}`)),
  refuse: () => undefined,
  diff: (spec: ImagesSpec, present) =>
    spec.images
      .filter((image) => !present.has(`${image.name}@${image.digest}`))
      .map((image) => change(image.name, "", image.digest, Impact.IMPACT_LIVE)),
  conditions: () => [{ type: "ImagesPresent", status: "True", reason: "AllPresent", message: "" }],
  async apply(_spec, changes, context) {
    const { host, signal } = context;
    for (const { path, to } of changes) {
      const show = (at: { doneBytes: number; totalBytes: number }): void => context.progress({ item: path, phase: 2, message: "", ...at });
      await host.containerd.pull(`${path}@${to}`, show, signal).catch((error: unknown) => {
        if ((error as { code?: unknown }).code === "NOT_FOUND") throw new StepError("ImageNotFound", `no ${path}@${to}`, true);
        throw error;
      });
      await host.containerd.putImage(path, to, { [PIN_LABEL]: "pinned" }, signal);
      context.say(`pulled ${path}`);
    }
  },
};

/** Always in sync. */
function inert<K extends StepKind>(kind: K, emptySpec: SpecOf<K>): Step<K> {
  return {
    kind,
    emptySpec,
    observe: () => Promise.resolve(undefined),
    refuse: () => undefined,
    diff: () => [],
    conditions: () => [],
    apply: () => Promise.resolve(),
  };
}

function change(path: string, from: string, to: string, impact: Impact): Change {
  return { path, from, to, impact, note: "" };
}
