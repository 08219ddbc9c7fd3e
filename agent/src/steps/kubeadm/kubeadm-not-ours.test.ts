/** What the kubeadm step must leave alone: nodes, half nodes and kubelets that Drover did not join by its own memory. */
import { Impact } from "@drover/proto";
import { describe, expect, it } from "vitest";
import type { FakeHost } from "../../fake/index.ts";
import { kubeadmStep } from "./kubeadm-step.ts";
import { becomeNode, CNI, failureOf, kubeconfigOf, machine, spec } from "./kubeadm-fixture.ts";
import { BOOTSTRAP_KUBECONFIG, CLIENT_CERTIFICATE, ETCD_MANIFEST, KUBELET_CONFIG, KUBELET_KUBECONFIG, KUBELET_UNIT } from "./places.ts";
import { CA_HASH, CA_PEM, OTHER_CA_PEM } from "./test-certificates.ts";

const PEM = "/var/lib/kubelet/pki/kubelet-client-2026.pem";
const runs = (host: FakeHost): readonly string[] => host.effects.of("transientUnits.start").map(({ value }) => value.split(" ")[1] ?? "");

describe("a machine that looks half joined", () => {
  it.each<[string, (host: FakeHost) => void]>([
    ["its certificate is in kubelet.conf", (host) => host.files.drop(CLIENT_CERTIFICATE)],
    ["a bootstrap kubeconfig was left there", (host) => host.files.put(BOOTSTRAP_KUBECONFIG, kubeconfigOf(CA_PEM))],
    ["its certificate's link dangles", (host) => host.files.drop(PEM)],
  ])("is refused and stays when no join of ours left that: %s", async (_name, change) => {
    const { host, refuse, apply } = machine();
    becomeNode(host);
    change(host);
    expect(await refuse(spec())).toMatchObject({ reason: "HalfJoinedNotByUs" });
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "HalfJoinedNotByUs", isRetryable: false });
    expect(runs(host)).toEqual([]);
  });

  it("is joined again as a drain when it is our node, and never when it bears another CA by now", async () => {
    const { host, apply, diff, refuse } = machine();
    await apply(spec());
    host.files.drop(PEM);
    expect(await diff(spec())).toMatchObject([{ path: "cluster", impact: Impact.IMPACT_DRAIN }]);
    host.files.put(KUBELET_KUBECONFIG, kubeconfigOf(OTHER_CA_PEM));
    expect(await refuse(spec())).toMatchObject({ reason: "HalfJoinedNotByUs" });
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
  });

  it("is cleaned when our join was cut off by a power cut, and keeps what the operator had before", async () => {
    const { host, clock, apply, diff, context } = machine(() => undefined);
    host.files.put(`${CNI}/10-flannel.conflist`, "mine");
    const stop = new AbortController();
    const first = apply(spec(), stop.signal);
    first.catch(() => undefined);
    for (let turn = 0; host.transientUnits.running.length === 0 && turn < 100; turn += 1) await clock.advance(100);
    stop.abort(new Error("power cut"));
    await expect(first).rejects.toThrow("power cut");
    host.transientUnits.forgetAll();
    host.kernel.reboot("00000000-0000-4000-8000-000000000002");
    host.files.put(BOOTSTRAP_KUBECONFIG, kubeconfigOf(CA_PEM));
    host.files.put(`${CNI}/20-of-the-cluster.conf`, "{}");
    // The one that runs next fails, so that what the reset took away is seen.
    const again = apply(spec());
    again.catch(() => undefined);
    for (let turn = 0; !runs(host).includes("reset") && turn < 100; turn += 1) await clock.advance(100);
    expect(await context.memory.get()).toMatchObject({
      begun: { cluster: "prod" },
      before: { cniFiles: ["05-mine.conf", "10-flannel.conflist"] },
    });
    host.files.drop(BOOTSTRAP_KUBECONFIG);
    host.transientUnits.end(host.transientUnits.running[0] ?? "", { exitCode: 0, output: "" });
    for (let turn = 0; runs(host).length < 3 && turn < 100; turn += 1) await clock.advance(100);
    expect(runs(host)).toEqual(["join", "reset", "join"]);
    becomeNode(host);
    host.transientUnits.end(host.transientUnits.running[0] ?? "", { exitCode: 0, output: "" });
    await again;
    expect(host.files.paths.filter((path) => path.startsWith(CNI))).toEqual([`${CNI}/05-mine.conf`, `${CNI}/10-flannel.conflist`]);
    expect(await diff(spec())).toEqual([]);
  });
});

describe("a node that somebody else made of our machine", () => {
  it("stays when the plan forgets a cluster that it had left long ago", async () => {
    const { host, apply, diff } = machine();
    await apply(spec());
    becomeNode(host, OTHER_CA_PEM);
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
    await apply(kubeadmStep.emptySpec);
    expect(runs(host)).toEqual(["join"]);
    expect(host.files.text(KUBELET_KUBECONFIG)).toBe(kubeconfigOf(OTHER_CA_PEM));
  });

  it("stays when it was joined by hand after our reset failed, also to the same cluster", async () => {
    const { host, apply, diff, context } = machine();
    await apply(spec());
    host.effects.fail("files.removeTree", new Error("busy"), { target: `${CNI}/10-flannel.conflist`, times: 3 });
    expect(await failureOf(apply(kubeadmStep.emptySpec))).toMatchObject({ reason: "ResetIncomplete" });
    becomeNode(host, CA_PEM, OTHER_CA_PEM);
    host.containerd.putSandbox({ id: "s1", pod: "default/a" });
    expect(await failureOf(apply(kubeadmStep.emptySpec))).toMatchObject({ reason: "NodeAppeared", isRetryable: true });
    await apply(kubeadmStep.emptySpec);
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
    expect(await context.memory.get()).toBeUndefined();
    expect(host.files.text(KUBELET_KUBECONFIG)).toBeDefined();
    expect(host.effects.of("containerd.removeSandbox")).toEqual([]);
  });

  it("stays when it became a control plane after our reset failed", async () => {
    const { host, apply, refuse } = machine();
    await apply(spec());
    host.effects.fail("files.removeTree", new Error("busy"), { target: `${CNI}/10-flannel.conflist`, times: 3 });
    expect(await failureOf(apply(kubeadmStep.emptySpec))).toMatchObject({ reason: "ResetIncomplete" });
    host.files.put(ETCD_MANIFEST, "kind: Pod");
    host.files.put(`${CNI}/20-new.conf`, "{}");
    expect(await refuse(kubeadmStep.emptySpec)).toMatchObject({ reason: "ControlPlaneNode" });
    expect(await failureOf(apply(kubeadmStep.emptySpec))).toMatchObject({ reason: "ControlPlaneNode" });
    expect(host.files.text(`${CNI}/20-new.conf`)).toBe("{}");
  });

  it("stays when it was joined by hand after our join failed", async () => {
    const { host, apply, diff, memory } = machine();
    const begun = { cluster: "prod", endpoint: "10.0.0.1:6443", caCertHashes: [CA_HASH], rejoin: 0, nodeName: "web-1" };
    const before = { cniFiles: [], clusterFiles: [], links: [] };
    await memory.set({ begun, before, failure: { reason: "TlsBootstrapTimeout", message: "it took too long", isRetryable: true } });
    becomeNode(host);
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "NodeAppeared", isRetryable: true });
    expect(await diff(spec())).toEqual([]);
    expect(await memory.get()).toBeUndefined();
    expect(runs(host)).toEqual([]);
  });
});

describe("a join of ours that was lost with a boot", () => {
  const begun = { cluster: "prod", endpoint: "10.0.0.1:6443", caCertHashes: [CA_HASH], rejoin: 0, nodeName: "web-1" };
  const before = { cniFiles: ["05-mine.conf", "of-that-time.conf"], clusterFiles: [], links: [] };
  const job = { kind: "join", unit: "drover-kubeadm-join-1.service", bootId: "another boot", joining: begun };

  it("makes no member of a node with another CA", async () => {
    const { host, apply, refuse, memory } = machine();
    await memory.set({ begun, before, job });
    becomeNode(host, OTHER_CA_PEM);
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "JoinedToAnotherCluster", isRetryable: false });
    expect(await refuse(spec())).toMatchObject({ reason: "JoinedToAnotherCluster" });
    expect(await memory.get()).toBeUndefined();
    expect(runs(host)).toEqual([]);
  });

  it("is begun again with what was there before it, not with what it left", async () => {
    const { apply, memory } = machine();
    await memory.set({ begun, before, job });
    await apply(spec());
    expect(await memory.get()).toMatchObject({ member: { cluster: "prod" }, before });
  });

  it("is not settled on a control plane, also when the plan has forgotten it", async () => {
    const { host, apply, refuse, memory } = machine();
    await memory.set({ before, job: { ...job, kind: "reset" } });
    host.files.put(ETCD_MANIFEST, "kind: Pod");
    expect(await refuse(kubeadmStep.emptySpec)).toMatchObject({ reason: "ControlPlaneNode" });
    expect(await failureOf(apply(kubeadmStep.emptySpec))).toMatchObject({ reason: "ControlPlaneNode" });
    expect(host.files.text(ETCD_MANIFEST)).toBe("kind: Pod");
  });
});

describe("a machine that runs a kubelet of its own", () => {
  it("is not reset by a join that changed nothing", async () => {
    const { host, apply, context } = machine(() => ({ exitCode: 1, output: "\t[ERROR Port-10250]: Port 10250 is in use\n" }));
    host.files.put("/etc/kubernetes/pki/ca.crt", OTHER_CA_PEM);
    host.files.put("/var/lib/kubelet/cpu_manager_state", "{}");
    const error = await failureOf(apply(spec()));
    expect(error).toMatchObject({ reason: "PreflightFailed", isRetryable: false });
    expect(error.message).toContain("it had changed nothing");
    expect(runs(host)).toEqual(["join"]);
    expect(host.files.text("/etc/kubernetes/pki/ca.crt")).toBe(OTHER_CA_PEM);
    expect(host.files.text("/var/lib/kubelet/cpu_manager_state")).toBe("{}");
    expect(await context.memory.get()).toBeUndefined();
  });

  it("is refused before a first join: static pods, an etcd, a configured kubelet that runs", async () => {
    const { host, refuse, apply } = machine();
    host.files.put("/etc/kubernetes/manifests/proxy.yaml", "kind: Pod");
    expect(await refuse(spec())).toMatchObject({ reason: "StaticPodsPresent" });
    host.files.put(ETCD_MANIFEST, "kind: Pod");
    expect(await refuse(spec())).toMatchObject({ reason: "ControlPlaneNode" });
    host.files.drop(ETCD_MANIFEST);
    host.files.drop("/etc/kubernetes/manifests/proxy.yaml");
    host.files.put(KUBELET_CONFIG, "kind: KubeletConfiguration\n");
    expect(await refuse(spec())).toBeUndefined();
    host.units.setActive(KUBELET_UNIT, true);
    expect(await refuse(spec())).toMatchObject({ reason: "KubeletInUse" });
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "KubeletInUse" });
    expect(runs(host)).toEqual([]);
  });
});

it("gives up no working node before it knows that the runtime answers", async () => {
  const { host, apply } = machine();
  await apply(spec());
  host.containerd.breakCri("cni plugin not initialized");
  expect(await failureOf(apply(spec({ rejoin: 1 })))).toMatchObject({ reason: "RuntimeNotReady", isRetryable: true });
  expect(runs(host)).toEqual(["join"]);
  host.containerd.breakCri(undefined);
  await apply(spec({ rejoin: 1 }));
  expect(runs(host)).toEqual(["join", "reset", "join"]);
});
