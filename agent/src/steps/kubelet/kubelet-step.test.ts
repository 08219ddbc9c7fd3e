import { VirtualClock } from "@drover/lifecycle";
import { Impact, KubeletSpec } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeCrash, fakeHost, fakeStepContext, FakeStepMemory } from "../../fake/index.ts";
import { parseYamlTable, type PlainTable } from "../../format/yaml.ts";
import { StepError } from "../step.ts";
import { kubeletStep } from "./kubelet-step.ts";
import { CONFIG_PATH, mergedConfiguration, mergeKubeletPatch, ORIGINALS_PATH, PATCH_PATH } from "./merge-patch.ts";
import { configArgsIn, UNIT_DROP_IN_PATH } from "./wanted.ts";

const KUBELET = "kubelet.service";
const KUBEADM_DROP_IN = "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf";
const DROP_IN = "/etc/kubernetes/kubelet.conf.d/90-drover.conf";
const BY_KUBEADM =
  "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 110\nevictionHard:\n  nodefs.available: 10%\n";
const spec = (configuration: object = {}, parts: Partial<KubeletSpec> = {}): KubeletSpec =>
  KubeletSpec.create({ configuration: JSON.stringify(configuration), ...parts });
const profile = spec({ maxPods: 42, evictionHard: { "memory.available": "50Mi" } }, { parallelImagePulls: true, maxParallelImagePulls: 5 });

function machine(version: string, isJoined: boolean, onRestart: (text: string) => void = () => undefined) {
  const clock = new VirtualClock();
  const host = fakeHost({
    files: {
      [KUBEADM_DROP_IN]: '[Service]\nEnvironment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"\n',
      ...(isJoined ? { [CONFIG_PATH]: BY_KUBEADM } : {}),
    },
    activeUnits: isJoined ? [KUBELET] : [],
    programs: { "/usr/bin/kubelet": () => ({ stdout: `Kubernetes v${version}\n` }) },
    onRestart: (_unit, machineNow) => onRestart(machineNow.files.text(CONFIG_PATH) ?? ""),
  });
  const context = fakeStepContext(host, { clock, memory: new FakeStepMemory(host) });
  const observe = (wanted: KubeletSpec) => kubeletStep.observe(wanted, context);
  const diff = async (wanted: KubeletSpec) => kubeletStep.diff(wanted, await observe(wanted));
  const refuse = async (wanted: KubeletSpec) => kubeletStep.refuse(wanted, await observe(wanted));
  const apply = async (wanted: KubeletSpec) => whileTimePasses(clock, kubeletStep.apply(wanted, await diff(wanted), context));
  const config = () => tableOf(host.files.text(CONFIG_PATH) ?? "");
  return { host, context, diff, refuse, apply, config };
}

async function whileTimePasses<T>(clock: VirtualClock, work: Promise<T>): Promise<T> {
  const state = { isOver: false };
  const over = work.finally(() => {
    state.isOver = true;
  });
  over.catch(() => undefined);
  while (!state.isOver) await clock.advance(500);
  return over;
}

function tableOf(text: string): PlainTable {
  const parsing = parseYamlTable(text);
  if (!parsing.ok) throw new Error(parsing.message);
  return parsing.table;
}

describe("the kubelet step", () => {
  it("writes kubeadm's patch before the join, merges it after the join of an old kubeadm, and is in sync then", async () => {
    const { host, context, diff, apply, config } = machine("1.20.2", false);
    expect(await diff(profile)).toMatchObject([{ path: PATCH_PATH, impact: Impact.IMPACT_LIVE }]);
    await apply(profile);
    expect(tableOf(host.files.text(PATCH_PATH) ?? "")).toEqual({
      maxPods: 42,
      evictionHard: { "memory.available": "50Mi" },
      serializeImagePulls: false,
    });
    host.files.put(CONFIG_PATH, BY_KUBEADM);
    expect(await mergeKubeletPatch(context)).toBe(true);
    expect(await mergeKubeletPatch(context)).toBe(false);
    expect(config()).toMatchObject({ maxPods: 42, evictionHard: { "memory.available": "50Mi", "nodefs.available": "10%" } });
    expect(await diff(profile)).toEqual([]);
  });

  it("takes back what kubeadm has set from the patch, but nothing that a kubelet is broken without", async () => {
    const { host, context, diff, apply, config } = machine("1.28.4", false);
    const first = spec({ maxPods: 42, podPidsLimit: 100, evictionHard: { "memory.available": "50Mi" }, clusterDomain: "a.b" });
    await apply(first);
    host.files.put(
      CONFIG_PATH,
      `${BY_KUBEADM.replace("110", "42")}  memory.available: 50Mi\npodPidsLimit: 100\nclusterDomain: a.b\nsyncFrequency: 0s\n`,
    );
    expect(await diff(first)).toEqual([]);
    await apply(spec({ maxPods: 50, syncFrequency: "1m" }));
    expect(config()).toEqual({ ...tableOf(BY_KUBEADM), maxPods: 50, syncFrequency: "1m", clusterDomain: "a.b" });
    await apply(kubeletStep.emptySpec);
    const { maxPods: _, ...rest } = tableOf(BY_KUBEADM);
    expect(config()).toEqual({ ...rest, syncFrequency: "0s", clusterDomain: "a.b" });
    expect([await diff(kubeletStep.emptySpec), await context.memory.get()]).toEqual([[], undefined]);
    expect(host.files.text(ORIGINALS_PATH)).toBeUndefined();
  });

  it("leaves what a node had of itself with the same value, wherever it is killed, and restarts nothing for it", async () => {
    const same = spec({ maxPods: 110 });
    const whole = machine("1.28.4", true);
    await whole.apply(same);
    expect(whole.host.effects.of("units.restart")).toEqual([]);
    for (let kill = 0; kill <= whole.host.effects.all.length; kill += 1) {
      const { host, apply, config } = machine("1.28.4", true);
      host.effects.crashAfter(kill);
      await apply(same).catch((error: unknown) => expect(error).toBeInstanceOf(FakeCrash));
      host.effects.revive();
      await apply(same);
      await apply(kubeletStep.emptySpec);
      expect(config()).toEqual(tableOf(BY_KUBEADM));
      expect(host.files.paths).toEqual([KUBEADM_DROP_IN, CONFIG_PATH]);
    }
  });

  it("merges into the config.yaml of a node, restarts once, and puts back what leaves the plan", async () => {
    const { host, context, diff, apply, config } = machine("1.28.4", true);
    expect(await diff(profile)).toMatchObject([
      { path: PATCH_PATH, impact: Impact.IMPACT_LIVE },
      { path: `${CONFIG_PATH} maxPods`, from: "110", to: "42", impact: Impact.IMPACT_RESTART },
      { path: `${CONFIG_PATH} evictionHard.memory.available`, from: "", to: '"50Mi"' },
      { path: `${CONFIG_PATH} serializeImagePulls`, from: "", to: "false" },
      { path: `${CONFIG_PATH} maxParallelImagePulls`, from: "", to: "5" },
    ]);
    await apply(profile);
    expect(host.effects.of("units.restart")).toHaveLength(1);
    expect(await diff(profile)).toEqual([]);
    const less = spec({ maxPods: 50 });
    await apply(less);
    expect(config()).toEqual({ ...tableOf(BY_KUBEADM), maxPods: 50 });
    await apply(kubeletStep.emptySpec);
    expect(config()).toEqual(tableOf(BY_KUBEADM));
    expect(await diff(kubeletStep.emptySpec)).toEqual([]);
    expect(await context.memory.get()).toBeUndefined();
    expect(host.files.paths).toEqual([KUBEADM_DROP_IN, CONFIG_PATH]);
  });

  it("uses a drop-in from 1.30 on, keeps what kubeadm's unit says, and uses the directory that is there", async () => {
    const { host, diff, apply } = machine("1.31.0", true);
    await apply(profile);
    expect(JSON.parse(host.files.text(DROP_IN) ?? "")).toMatchObject({
      kind: "KubeletConfiguration",
      maxPods: 42,
      maxParallelImagePulls: 5,
    });
    expect(host.files.text(UNIT_DROP_IN_PATH)).toContain(
      'Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml --config-dir=/etc/kubernetes/kubelet.conf.d"',
    );
    expect(host.effects.of("units.daemonReload")).toHaveLength(1);
    expect(host.files.text(CONFIG_PATH)).toBe(BY_KUBEADM);
    expect(await diff(profile)).toEqual([]);
    await apply(kubeletStep.emptySpec);
    expect(host.files.paths).toEqual([KUBEADM_DROP_IN, CONFIG_PATH]);

    const other = machine("1.31.0", true);
    other.host.files.put(KUBEADM_DROP_IN, '[Service]\nEnvironment="KUBELET_CONFIG_ARGS=--config=/c --config-dir=/etc/mine.d"\n');
    await other.apply(profile);
    expect(other.host.files.text("/etc/mine.d/90-drover.conf")).toContain("maxPods");
    expect(other.host.files.text(UNIT_DROP_IN_PATH)).toBeUndefined();
  });

  it.each(["1.28.4", "1.31.0"])("goes back when kubelet %s does not stay up, wherever it is killed", async (version) => {
    const make = () => {
      const made = machine(version, true);
      const state = { isBroken: true };
      const restart = made.host.units.restart.bind(made.host.units);
      made.host.units.restart = async (unit, signal) => {
        await restart(unit, signal);
        const isOurs = made.host.files.text(DROP_IN) !== undefined || (made.host.files.text(CONFIG_PATH) ?? "") !== BY_KUBEADM;
        made.host.units.setActive(unit, !(isOurs && state.isBroken));
      };
      return { ...made, state };
    };
    const whole = make();
    const before = whole.host.files.paths;
    const error = await whole.apply(profile).catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject({ reason: "KubeletNotHealthy", isUndone: true });
    expect(whole.host.files.paths).toEqual(before);
    for (let kill = 0; kill < whole.host.effects.all.length; kill += 1) {
      const { host, apply, context } = make();
      host.effects.crashAfter(kill);
      await expect(apply(profile)).rejects.toThrow(FakeCrash);
      host.effects.revive();
      expect(await apply(profile).catch((failure: unknown) => failure)).toMatchObject({ reason: "KubeletNotHealthy", isUndone: true });
      expect(host.files.paths).toEqual(before);
      expect(await host.units.isActive(KUBELET, context.signal)).toBe(true);
    }
  });

  it("ends in sync wherever it is killed, with the first originals", async () => {
    const whole = machine("1.28.4", true);
    await whole.apply(profile);
    for (let kill = 0; kill < whole.host.effects.all.length; kill += 1) {
      const { host, apply, diff, config } = machine("1.28.4", true);
      host.effects.crashAfter(kill);
      await expect(apply(profile)).rejects.toThrow(FakeCrash);
      host.effects.revive();
      await apply(profile);
      expect(await diff(profile)).toEqual([]);
      await apply(kubeletStep.emptySpec);
      expect(config()).toEqual(tableOf(BY_KUBEADM));
      expect(host.files.text(ORIGINALS_PATH)).toBeUndefined();
    }
  });

  it("refuses keys by name that the installed kubelet does not know, and units that it cannot reach", async () => {
    const { refuse } = machine("1.20.2", false);
    expect(await refuse(spec({ imageMaximumGCAge: "1h" }))).toEqual({
      reason: "UnknownKubeletKey",
      message: "key imageMaximumGCAge is not known to kubelet 1.20: known from 1.29",
    });
    expect(await refuse(profile)).toBeUndefined();
    expect(await refuse(KubeletSpec.create({ configuration: "[1]" }))).toMatchObject({ reason: "InvalidConfiguration" });
    const other = machine("1.31.0", false);
    other.host.files.put(KUBEADM_DROP_IN, "[Service]\n");
    expect(await other.refuse(profile)).toMatchObject({ reason: "KubeletUnitUnknown" });
    other.host.commands.install("/usr/bin/kubelet", undefined);
    expect(await other.refuse(profile)).toMatchObject({ reason: "KubeletNotInstalled" });
    expect(await other.refuse(kubeletStep.emptySpec)).toBeUndefined();
  });

  it("does not restart a kubelet that is started in vain because it has not joined", async () => {
    const { host, apply } = machine("1.31.0", false);
    host.units.setActive(KUBELET, true);
    await apply(profile);
    expect(host.effects.of("units.restart")).toEqual([]);
  });
});

describe("a change of the kubelet that is undone while it is watched (I4)", () => {
  it("goes back without being tried to its end, wherever it was killed", async () => {
    const broken = spec({ oomScoreAdj: 5000 });
    for (let survived = 1; survived < 40; survived += 1) {
      const starts: string[] = [];
      const { host, context, apply } = machine("1.28.4", true, (text) => void starts.push(text));
      host.effects.crashAfter(survived);
      const died = await apply(broken).catch((error: unknown) => error);
      host.effects.revive();
      if (!(died instanceof FakeCrash)) return expect(survived).toBeGreaterThan(4);
      const { attempt } = ((await context.memory.get()) ?? {}) as { attempt?: object };
      starts.length = 0;
      const undoing = { ...context, isUndo: true };
      const changes = kubeletStep.diff(kubeletStep.emptySpec, await kubeletStep.observe(kubeletStep.emptySpec, undoing));
      if (changes.length > 0)
        await whileTimePasses(context.clock as VirtualClock, kubeletStep.apply(kubeletStep.emptySpec, changes, undoing));
      expect(tableOf(host.files.text(CONFIG_PATH) ?? "")).toEqual(tableOf(BY_KUBEADM));
      expect([await context.memory.get(), host.files.text(ORIGINALS_PATH)]).toEqual([undefined, undefined]);
      expect(starts.filter((text) => text.includes("5000"))).toEqual([]);
      if (attempt !== undefined) expect(starts.length).toBeGreaterThan(0);
    }
    expect.unreachable("the change has fewer effects than that");
  });
});

describe("a node's kubelet that does not run at the moment", () => {
  it.each(["1.28.4", "1.31.0"])("is not started (%s), and its change is none to be made at any time", async (version) => {
    const { host, context, diff, apply } = machine(version, true);
    host.units.setActive(KUBELET, false);
    expect((await diff(profile)).filter(({ path }) => path !== PATCH_PATH).map(({ impact }) => impact)).not.toContain(Impact.IMPACT_LIVE);
    await apply(profile);
    expect(host.effects.of("units.restart")).toEqual([]);
    expect(await diff(profile)).toEqual([]);
    expect(await context.memory.get()).not.toHaveProperty("attempt");
  });

  it("is restarted when it came up while its files were written, wherever it is killed", async () => {
    const make = () => {
      const made = machine("1.28.4", true);
      made.host.units.setActive(KUBELET, false);
      const write = made.host.files.write.bind(made.host.files);
      made.host.files.write = async (path, content, mode) => {
        if (path === CONFIG_PATH) made.host.units.setActive(KUBELET, true);
        await write(path, content, mode);
      };
      return made;
    };
    const whole = make();
    await whole.apply(profile);
    expect(whole.host.effects.of("units.restart")).toHaveLength(1);
    for (let kill = 0; kill < whole.host.effects.all.length; kill += 1) {
      const { host, apply, diff } = make();
      host.effects.crashAfter(kill);
      await expect(apply(profile)).rejects.toThrow(FakeCrash);
      host.effects.revive();
      await apply(profile);
      expect(await diff(profile)).toEqual([]);
      expect(host.effects.of("units.restart").length).toBeGreaterThan(0);
    }
  });
});

describe("merging", () => {
  const keys = fc.constantFrom("a", "b", "c.d", "__proto__x");
  const table: fc.Arbitrary<PlainTable> = fc.letrec<{ table: PlainTable }>((tie) => ({
    table: fc.dictionary(
      keys,
      fc.oneof(
        { maxDepth: 2 },
        fc.integer(),
        fc.constant([1, 2]),
        tie("table").filter((t) => Object.keys(t).length > 0),
      ),
      {
        maxKeys: 3,
      },
    ),
  })).table;

  it("puts back exactly what was there, whatever came in between, where no mapping was replaced by a value or the other way round", () => {
    fc.assert(
      fc.property(table, fc.array(table, { maxLength: 4 }), (original, wanted) => {
        const flat = (from: PlainTable): PlainTable =>
          Object.fromEntries(Object.entries(from).map(([key, value]) => [key, typeof value === "object" ? JSON.stringify(value) : value]));
        let state = mergedConfiguration(flat(original), {}, []);
        for (const each of wanted) state = mergedConfiguration(state.table, flat(each), state.originals);
        const back = mergedConfiguration(state.table, {}, state.originals);
        expect(back.table).toEqual(flat(original));
        expect(back.originals).toEqual([]);
      }),
    );
  });

  it("reads what the unit hands the kubelet, the last one that sets it", () => {
    expect(configArgsIn(['Environment="KUBELET_CONFIG_ARGS=--a"\n', "Environment=KUBELET_CONFIG_ARGS=--b\n"])).toBe("--b");
    expect(configArgsIn(["Environment=OTHER=1\n"])).toBeUndefined();
  });
});
