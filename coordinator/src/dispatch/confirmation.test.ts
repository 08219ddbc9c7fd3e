import { Step } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { needsConfirmation } from "./confirmation.ts";

const step = (spec: Step["spec"]): Step => Step.fromPartial({ id: spec?.$case ?? "", spec });
const sysctl = (values: Record<string, string>): Step => step({ $case: "sysctl", value: { values } });
const containerd = (sandboxImage: string): Step => step({ $case: "containerd", value: { sandboxImage } as never });
const kubelet = (configuration: string): Step => step({ $case: "kubelet", value: { configuration } as never });
const images = (name: string): Step => step({ $case: "images", value: { images: [{ name }] } as never });
const binaries = (digest: string, restarts: string[]): Step =>
  step({ $case: "binaries", value: { binaries: [{ name: "b", source: "/b", digest, sizeBytes: 0, files: [], restarts }] } });
const kubeadm = (cluster: string, rejoin = 0, nodeLabels: Record<string, string> = {}): Step =>
  step({ $case: "kubeadm", value: { cluster, rejoin, nodeLabels } as never });

describe("I4: a change is confirmed when it can cut its node off", () => {
  const VM = sysctl({ "vm.swappiness": "10" });
  const NET = sysctl({ "vm.swappiness": "10", "net.core.somaxconn": "4096" });
  it.each<[string, Step[] | undefined, Step[], boolean]>([
    ["nothing", [NET], [NET], false],
    ["a sysctl that is not the network's", [NET], [sysctl({ "vm.swappiness": "20", "net.core.somaxconn": "4096" })], false],
    ["one of the network", [VM], [NET], true],
    ["one of the network that goes", [NET], [VM], true],
    ["the whole step that had one", [NET], [], true],
    ["containerd", [containerd("a")], [containerd("b")], true],
    ["containerd that goes", [containerd("a"), VM], [VM], true],
    ["kubelet", [VM], [VM, kubelet("{}")], true],
    ["images", [images("a")], [images("b")], false],
    ["a program that restarts the kubelet", [binaries("a", ["kubelet.service"])], [binaries("b", ["kubelet.service"])], true],
    ["a program that no longer restarts it", [binaries("a", ["kubelet.service"])], [binaries("a", [])], true],
    ["a program that restarts something else", [binaries("a", ["x.service"])], [binaries("b", ["x.service"])], false],
    ["all that a node without any plan gets", undefined, [VM], false],
    ["the network, on a node without any plan", undefined, [NET], true],
  ])("%s: needed?", (_what, before, after, isNeeded) => {
    expect(needsConfirmation(before, [], after, false)).toBe(isNeeded);
  });

  it("what a plan may have left behind that did not come to its end counts as changed", () => {
    expect(needsConfirmation(undefined, [containerd("b")], [VM], false)).toBe(true);
    expect(needsConfirmation(undefined, [VM], [VM, containerd("a")], false)).toBe(true);
    expect(needsConfirmation(undefined, [VM], [VM], false)).toBe(false);
  });

  it("nothing undoes a join, a rejoin or that a node leaves; a member that stays one is confirmed like any other", () => {
    expect(needsConfirmation(undefined, [], [containerd("a"), kubeadm("lab")], false)).toBe(false);
    const member = [containerd("a"), kubeadm("lab")];
    expect(needsConfirmation(member, [], [containerd("b"), kubeadm("lab")], true)).toBe(true);
    expect(needsConfirmation(member, [], [containerd("b"), kubeadm("lab", 0, { a: "b" })], true)).toBe(true);
    expect(needsConfirmation(member, [], [containerd("b"), kubeadm("lab", 1)], true)).toBe(false);
    expect(needsConfirmation(member, [], [containerd("b")], true)).toBe(false);
    // Its join failed, or its word of it was lost: the next plan joins.
    expect(needsConfirmation(undefined, member, [containerd("b"), kubeadm("lab")], false)).toBe(false);
    expect(needsConfirmation(undefined, member, [containerd("b"), kubeadm("lab")], true)).toBe(true);
  });
});
