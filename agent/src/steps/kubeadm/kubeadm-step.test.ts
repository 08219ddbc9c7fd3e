import { Impact, type KubeadmSpec } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { FakeCrash, type FakeHost } from "../../fake/index.ts";
import { becomeNode, CNI, failureOf, kubeadm, machine, spec, TOKEN } from "./kubeadm-fixture.ts";
import { kubeadmStep } from "./kubeadm-step.ts";
import { API_SERVER_MANIFEST, JOIN_CONFIG_PATH, KUBELET_KUBECONFIG, KUBELET_UNIT } from "./places.ts";
import { CA_PEM, OTHER_CA_PEM } from "./test-certificates.ts";

const joins = (host: FakeHost): number => host.effects.of("transientUnits.start").filter(({ value }) => value.includes(" join ")).length;

describe("the kubeadm step", () => {
  it("joins in a unit of its own, and leaves no token behind", async () => {
    const { host, context, diff, apply, joined, asked } = machine();
    expect(await diff(spec())).toMatchObject([{ path: "cluster", from: "", to: "prod", impact: Impact.IMPACT_RESTART }]);
    await apply(spec());
    expect(await diff(spec())).toEqual([]);
    expect(await joined(spec())).toEqual({ type: "Joined", status: "True", reason: "Joined", message: "node web-1 of cluster prod" });
    expect(asked()).toBe(1);
    expect(host.files.paths.filter((path) => path.startsWith("/run/drover"))).toEqual([]);
    const order = ["memory.set", "files.makeDirectory", "files.write", "transientUnits.start", "files.remove", "transientUnits.collect"];
    const seen = host.effects.all.map(({ kind }) => kind);
    expect(order.map((kind) => seen.indexOf(kind))).toEqual(order.map((kind) => seen.indexOf(kind)).toSorted((a, b) => a - b));
    for (const { kind, target, value } of host.effects.all) {
      if (kind !== "files.write" || target !== JOIN_CONFIG_PATH) expect(`${target} ${value}`).not.toContain(TOKEN);
    }
    expect(context.lines.join("\n")).not.toContain(TOKEN);
    expect(context.progressed.map(({ item }) => item)).toEqual(["preflight", "preflight", "kubelet-start", "kubelet-start"]);
  });

  it("ends in sync with one kubeadm wherever the agent is killed in a join", async () => {
    const whole = machine();
    await whole.apply(spec());
    for (let kill = 0; kill < whole.host.effects.all.length; kill += 1) {
      const { host, diff, apply, context } = machine();
      host.effects.crashAfter(kill);
      await expect(apply(spec())).rejects.toThrow(FakeCrash);
      host.effects.revive();
      if ((await diff(spec())).length > 0) await apply(spec());
      expect(await diff(spec())).toEqual([]);
      expect(joins(host)).toBe(1);
      expect(host.files.text(JOIN_CONFIG_PATH)).toBeUndefined();
      expect(await context.memory.get()).toMatchObject({ member: { cluster: "prod" }, before: { cniFiles: ["05-mine.conf"] } });
    }
  });

  it("takes a running kubeadm up again when it was told to stop, and starts no second one", async () => {
    const { host, clock, context, apply, diff, joined } = machine(() => undefined);
    const stop = new AbortController();
    const first = apply(spec(), stop.signal);
    first.catch(() => undefined);
    for (let turn = 0; host.transientUnits.running.length === 0 && turn < 100; turn += 1) await clock.advance(100);
    const [unit = ""] = host.transientUnits.running;
    host.transientUnits.print(unit, "[preflight] Running pre-flight checks\nhalf a li");
    stop.abort(new Error("the agent stops"));
    await expect(first).rejects.toThrow("the agent stops");
    expect(host.transientUnits.running).toEqual([unit]);
    expect(await joined(spec())).toMatchObject({ status: "False", reason: "Joining" });
    becomeNode(host);
    host.transientUnits.end(unit, { exitCode: 0, output: "ne\n" });
    await apply(spec());
    expect(await diff(spec())).toEqual([]);
    expect(joins(host)).toBe(1);
    expect(context.lines).toContain("half a line");
  });

  it("takes a failed join back, says why, and joins the next time; killed anywhere in between too", async () => {
    const failing = () => {
      const state = { isBroken: true };
      const made = machine((order, host) => {
        if (order.args[0] === "reset" || !state.isBroken) return kubeadm(order, host);
        host.files.put("/etc/kubernetes/bootstrap-kubelet.conf", `token: ${TOKEN}`);
        host.files.put("/etc/kubernetes/pki/ca.crt", CA_PEM);
        return { exitCode: 1, output: "error execution phase kubelet-start: timed out waiting for the condition\n" };
      });
      return { ...made, state };
    };
    const whole = failing();
    const error = await failureOf(whole.apply(spec()));
    expect(error).toMatchObject({ reason: "TlsBootstrapTimeout", isRetryable: true });
    expect(whole.host.files.paths).toEqual([`${CNI}/05-mine.conf`]);
    expect(await whole.context.memory.get()).toBeUndefined();
    for (let kill = 0; kill < whole.host.effects.all.length; kill += 1) {
      const { host, apply, diff, state, context } = failing();
      host.effects.crashAfter(kill);
      await expect(apply(spec())).rejects.toThrow(FakeCrash);
      host.effects.revive();
      const again = await apply(spec()).catch((failure: unknown) => failure);
      if (again !== undefined) expect(again).toMatchObject({ reason: "TlsBootstrapTimeout" });
      expect(host.files.paths).toEqual([`${CNI}/05-mine.conf`]);
      state.isBroken = false;
      await apply(spec());
      expect(await diff(spec())).toEqual([]);
      expect(await context.memory.get()).toMatchObject({ member: { cluster: "prod" } });
    }
  });

  it("adopts a machine that was joined by hand, and takes it out of nothing when the plan forgets it", async () => {
    const { host, diff, refuse, joined, apply } = machine();
    becomeNode(host);
    expect(await refuse(spec())).toBeUndefined();
    expect(await diff(spec())).toEqual([]);
    expect(await joined(spec())).toMatchObject({ status: "True", message: "node web-1 of cluster prod" });
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
    await apply(kubeadmStep.emptySpec);
    expect(host.files.text(KUBELET_KUBECONFIG)).toBeDefined();
    expect(await diff(spec({ rejoin: 1 }))).toMatchObject([{ path: "cluster", impact: Impact.IMPACT_DRAIN }]);
  });

  it("refuses a node of another cluster that it did not join, and a control plane always", async () => {
    const { host, refuse, apply } = machine();
    becomeNode(host, OTHER_CA_PEM);
    expect(await refuse(spec())).toMatchObject({ reason: "JoinedToAnotherCluster" });
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "JoinedToAnotherCluster", isRetryable: false });
    host.files.put(API_SERVER_MANIFEST, "kind: Pod");
    expect(await refuse(spec())).toMatchObject({ reason: "ControlPlaneNode" });
    expect(host.effects.of("transientUnits.start")).toEqual([]);
  });

  it("resets and joins again when an operator asks for it, and leaves the operator's own CNI configuration", async () => {
    const { host, apply, diff } = machine();
    await apply(spec());
    host.containerd.putSandbox({ id: "s1", pod: "default/a" });
    expect(host.files.text(`${CNI}/10-flannel.conflist`)).toBeDefined();
    host.effects.clear();
    expect(await diff(spec({ rejoin: 2 }))).toMatchObject([{ path: "cluster", from: "prod", to: "prod", impact: Impact.IMPACT_DRAIN }]);
    await apply(spec({ rejoin: 2 }));
    expect(await diff(spec({ rejoin: 2 }))).toEqual([]);
    expect(host.effects.of("transientUnits.start").map(({ value }) => value.split(" ")[1])).toEqual(["reset", "join"]);
    expect(host.effects.of("containerd.removeSandbox")).toHaveLength(1);
    expect(host.effects.summary).toContain(`files.removeTree ${CNI}/10-flannel.conflist`);
    expect(host.files.text(`${CNI}/05-mine.conf`)).toBe("{}");
  });

  it("leaves the cluster that it joined when the plan no longer names it, killed anywhere", async () => {
    const first = machine();
    await first.apply(spec());
    first.host.effects.clear();
    await first.apply(kubeadmStep.emptySpec);
    const effects = first.host.effects.all.length;
    for (let kill = 0; kill < effects; kill += 1) {
      const { host, apply, diff, context } = machine();
      await apply(spec());
      host.effects.crashAfter(kill);
      await expect(apply(kubeadmStep.emptySpec)).rejects.toThrow(FakeCrash);
      host.effects.revive();
      await apply(kubeadmStep.emptySpec);
      expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
      expect(await context.memory.get()).toBeUndefined();
      expect(host.files.paths).toEqual([`${CNI}/05-mine.conf`]);
      await expect(host.units.isActive(KUBELET_UNIT, context.signal)).resolves.toBe(false);
    }
  });

  it("names what a reset could not take away, and goes on from there", async () => {
    const { host, apply, diff } = machine();
    await apply(spec());
    host.effects.fail("files.removeTree", new Error("busy"), { target: `${CNI}/10-flannel.conflist`, times: 3 });
    const error = await failureOf(apply(kubeadmStep.emptySpec));
    expect(error).toMatchObject({ reason: "ResetIncomplete", isRetryable: true });
    expect(error.message).toContain(`CNI configuration of the cluster: ${CNI}/10-flannel.conflist, (busy)`);
    await apply(kubeadmStep.emptySpec);
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
    expect(host.effects.of("transientUnits.start").filter(({ value }) => value.includes(" reset "))).toHaveLength(1);
  });

  it("asks for no token before the machine is ready", async () => {
    const { host, apply, asked } = machine();
    host.containerd.breakCri("cni plugin not initialized");
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "RuntimeNotReady", isRetryable: true });
    host.commands.install("/usr/bin/kubelet", undefined);
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "KubeletNotInstalled" });
    host.commands.install("/usr/bin/kubeadm", () => ({ stdout: "v1.14.0" }));
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "UnsupportedKubeadm" });
    expect(asked()).toBe(0);
  });

  it.each<[string, Partial<KubeadmSpec>, string]>([
    ["NotThisMachine", { nodeName: "web-2" }, "names the Node web-2 and this machine is web-1"],
    ["InvalidSpec", { criSocket: "unix:///tmp/evil.sock" }, "below unix:///run"],
    ["InvalidSpec", { criSocket: "unix:///run/../tmp/evil.sock" }, "below unix:///run"],
    ["InvalidSpec", { kubeletExtraArgs: { "hostname-override": "cp1" } }, "kubeadm.kubeletExtraArgs.hostname-override must not be set"],
    ["InvalidSpec", { nodeLabels: { "node-role.kubernetes.io/control-plane": "" } }, "a kubelet may not put on its own Node"],
  ])("refuses to join as %s with %o", async (reason, parts, message) => {
    const { host, refuse, apply } = machine();
    const refusal = await refuse(spec(parts));
    expect(refusal).toMatchObject({ reason });
    expect(refusal?.message).toContain(message);
    expect(await failureOf(apply(spec(parts)))).toMatchObject({ reason, isRetryable: false });
    expect(joins(host)).toBe(0);
    becomeNode(host);
    expect(await refuse(spec(parts))).toBeUndefined();
  });

  it("starts no second kubeadm after another boot before it has seen what the first one left", async () => {
    const { host, clock, apply, diff } = machine(() => undefined);
    const stop = new AbortController();
    const first = apply(spec(), stop.signal);
    first.catch(() => undefined);
    for (let turn = 0; host.transientUnits.running.length === 0 && turn < 100; turn += 1) await clock.advance(100);
    stop.abort(new Error("power cut"));
    await expect(first).rejects.toThrow("power cut");
    host.transientUnits.forgetAll();
    host.kernel.reboot("00000000-0000-4000-8000-000000000002");
    becomeNode(host);
    await apply(spec());
    expect(await diff(spec())).toEqual([]);
    expect(joins(host)).toBe(1);
  });
});
