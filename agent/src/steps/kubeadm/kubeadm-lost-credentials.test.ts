/** A node of ours whose kubelet's credentials are gone altogether: taken back and joined again, and told from a machine that is nobody's. */
import { Impact } from "@drover/proto";
import { describe, expect, it } from "vitest";
import type { FakeHost } from "../../fake/index.ts";
import type { TransientUnit } from "../../host/transient-units-port.ts";
import { CNI, failureOf, kubeadm, machine, spec } from "./kubeadm-fixture.ts";
import { kubeadmStep } from "./kubeadm-step.ts";
import { CLIENT_CERTIFICATE, KUBELET_KUBECONFIG, KUBELET_UNIT } from "./places.ts";
import { OTHER_CA_PEM } from "./test-certificates.ts";

const CA = "/etc/kubernetes/pki/ca.crt";
const runs = (host: FakeHost): readonly string[] => host.effects.of("transientUnits.start").map(({ value }) => value.split(" ")[1] ?? "");

/** Like the real one it joins no machine that has a cluster's CA already. */
function strictKubeadm(order: TransientUnit, host: FakeHost) {
  if (order.args[0] === "join" && host.files.text(CA) !== undefined) {
    return {
      exitCode: 1,
      output: `error execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR FileAvailable--etc-kubernetes-pki-ca.crt]: ${CA} already exists\n`,
    };
  }
  return kubeadm(order, host);
}

function destroyCredentials(host: FakeHost): void {
  for (const path of [KUBELET_KUBECONFIG, CLIENT_CERTIFICATE, "/var/lib/kubelet/pki/kubelet-client-2026.pem"]) host.files.drop(path);
}

describe("a node of ours without any credentials", () => {
  it.each([
    ["its kubelet dies at each start", false, spec()],
    ["its kubelet is seen in the moment between two deaths", true, spec()],
    ["an operator or a repair asks for it", false, spec({ rejoin: 1 })],
  ])("is reset, as a drain, and joined again: %s", async (_name, isActive, wanted) => {
    const { host, apply, diff, refuse, context } = machine(strictKubeadm);
    await apply(spec());
    destroyCredentials(host);
    host.units.setActive(KUBELET_UNIT, isActive);
    expect(await refuse(wanted)).toBeUndefined();
    expect(await diff(wanted)).toMatchObject([{ path: "cluster", to: "prod", impact: Impact.IMPACT_DRAIN }]);
    await apply(wanted);
    expect(runs(host)).toEqual(["join", "reset", "join"]);
    expect(await diff(wanted)).toEqual([]);
    expect(await context.memory.get()).toMatchObject({ member: { cluster: "prod", rejoin: wanted.rejoin } });
    expect(host.files.text(`${CNI}/05-mine.conf`)).toBe("{}");
  });

  it("is taken out of the cluster when the plan no longer names it", async () => {
    const { host, apply, diff } = machine(strictKubeadm);
    await apply(spec());
    destroyCredentials(host);
    expect(await diff(kubeadmStep.emptySpec)).toMatchObject([{ path: "cluster", impact: Impact.IMPACT_DRAIN }]);
    await apply(kubeadmStep.emptySpec);
    expect(runs(host)).toEqual(["join", "reset"]);
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
  });

  it("is no node of ours any more when another cluster's CA is there: nothing is reset", async () => {
    const { host, apply, diff } = machine(strictKubeadm);
    await apply(spec());
    destroyCredentials(host);
    host.files.put(CA, OTHER_CA_PEM);
    host.units.setActive(KUBELET_UNIT, false);
    expect(await diff(kubeadmStep.emptySpec)).toEqual([]);
    expect(await failureOf(apply(spec()))).toMatchObject({ reason: "PreflightFailed" });
    expect(runs(host)).toEqual(["join", "join"]);
  });
});
