/**
 * Bare machines become nodes: two enrol, are configured, preload and join; a change of labels and taints reaches them through the
 * cluster's API; one is reset and joins again. Every claim is checked where it is true or not: on the machines and in the cluster's own API.
 */
import type { Machine } from "../../testbed/machine.ts";
import { eventually } from "../../testbed/program.ts";
import type { JoinStage, KubernetesNode } from "./stage.ts";
import { CLUSTER, SET } from "./stage.ts";

export interface Teller {
  chapter(title: string): void;
  claim(sentence: string, holds: () => Promise<boolean> | boolean): Promise<void>;
  /** Shows a command of the operator's and what it prints. */
  show(words: readonly string[]): Promise<void>;
}

const JOIN_MS = 240_000;

export async function playJoinStory(stage: JoinStage, names: readonly [string, string], tell: Teller): Promise<readonly Machine[]> {
  const { site } = stage;
  tell.chapter("The cluster is adopted: its kubeconfig is kept encrypted");
  await stage.adopt();
  await site.mustDrover(["wait", `cluster/${CLUSTER}`, "--for=phase=Available", "--timeout", "60s"], { timeoutMs: 70_000 });
  await tell.show(["get", "clusters"]);

  tell.chapter("Two bare machines boot and enrol");
  const machines = await Promise.all(names.map((name) => site.addMachine(name, { role: "web" }, { kind: "full" })));
  await eventually("both are known", 120_000, async () => {
    const listed = (await site.drover(["get", "nodes", "-o", "name"])).stdout;
    return names.every((name) => listed.includes(name));
  });
  await tell.show(["get", "nodes"]);

  tell.chapter("A profile and a set that names the cluster: configured, preloaded, joined");
  await site.mustDrover(["apply", "-f", await stage.manifest("web")]);
  await tell.show(["rollout", "status", `${SET}-1`, "--timeout", "8m"]);
  const joined = new Map<string, KubernetesNode>();
  for (const name of names) joined.set(name, await stage.readyNode(name, JOIN_MS));
  for (const name of names) {
    await site.mustDrover(["wait", `node/${name}`, "--for=condition=KubernetesReady", "--timeout", "2m"], { timeoutMs: 130_000 });
    await site.mustDrover(["wait", `node/${name}`, "--for=phase=InSync", "--timeout", "1m"], { timeoutMs: 70_000 });
  }
  await tell.show(["get", "nodes", "-o", "wide"]);
  for (const machine of machines) await claimJoined(stage, machine, tell);

  tell.chapter("Other labels and taints: set through the cluster's API, nobody joins anew");
  await site.mustDrover(["apply", "-f", await stage.manifest("web-2", { taintValue: "api", nodeLabels: { floor: "2" } })]);
  await tell.show(["rollout", "status", `${SET}-2`, "--timeout", "3m"]);
  for (const name of names) {
    await tell.claim(`${name}: has the new label and taint, the old label is gone, and it is the same Node`, async () => {
      await eventually(`${name} is labelled`, 90_000, async () => {
        const node = await stage.nodeOf(name);
        return node?.metadata.labels["floor"] === "2" && hasTaint(node, "api");
      });
      const node = await stage.nodeOf(name);
      return (
        node?.metadata.labels["tier"] === undefined && !hasTaint(node!, "web") && node!.metadata.uid === joined.get(name)!.metadata.uid
      );
    });
  }

  tell.chapter("One node is reset and joins again");
  const [, second] = names;
  await site.mustDrover(["node", "rejoin", second, "--yes"]);
  const again = await eventually(`${second} is another Node`, JOIN_MS, async () => {
    const node = await stage.nodeOf(second);
    return node !== undefined && node.metadata.uid !== joined.get(second)!.metadata.uid && node;
  });
  await stage.readyNode(second, JOIN_MS);
  await site.mustDrover(["wait", `node/${second}`, "--for=phase=InSync", "--timeout", "2m"], { timeoutMs: 130_000 });
  await tell.claim(`${second}: is Ready again, with its set's label and taint from its registration on`, async () => {
    const node = await stage.nodeOf(second);
    return again.metadata.labels["drover.dev/node-set"] === SET && node !== undefined && hasTaint(node, "api");
  });
  await tell.claim(`${names[0]}: was left alone`, async () => {
    return (await stage.nodeOf(names[0]))?.metadata.uid === joined.get(names[0])!.metadata.uid;
  });
  await tell.claim("no bootstrap token that was minted is left in the cluster", async () => {
    await eventually("tokens are gone", 30_000, async () => (await stage.bootstrapTokens()).every(({ nodeId }) => nodeId === undefined));
    return true;
  });
  await tell.show(["describe", "node", second]);
  return machines;
}

async function claimJoined(stage: JoinStage, machine: Machine, tell: Teller): Promise<void> {
  const { name } = machine;
  await tell.claim(`${name}: is Ready in the cluster's own API, with the label of its set and the profile's label and taint`, async () => {
    const node = await stage.nodeOf(name);
    if (node === undefined) return false;
    const { labels } = node.metadata;
    return labels["drover.dev/node-set"] === SET && labels["tier"] === "front" && hasTaint(node, "web");
  });
  await tell.claim(`${name}: the kubelet runs with the profile's settings (42 pods, images pulled side by side)`, async () => {
    // The kubelet tells the API what it can hold some seconds after its start.
    await eventually(`${name} tells how many pods it holds`, 60_000, async () => {
      return (await stage.nodeOf(name))?.status.capacity["pods"] === "42";
    });
    return /serializeImagePulls: false/.test(await machine.readFile("/var/lib/kubelet/config.yaml"));
  });
  await tell.claim(`${name}: the images were there before it joined, by digest`, async () => {
    const listed = (await machine.run("ctr", ["-n", "k8s.io", "images", "list"])).stdout;
    return stage.images.every((image) =>
      listed.split("\n").some((line) => line.startsWith(`${image.name} `) && line.includes(image.digest)),
    );
  });
  await tell.claim(`${name}: kubeadm is the one by digest; its unit, its configuration and its token are gone`, async () => {
    const target = (await machine.run("readlink", ["/usr/local/bin/kubeadm"])).stdout;
    const units = (await machine.run("systemctl", ["list-units", "--all", "--plain", "--no-legend", "drover-kubeadm*"])).stdout;
    const left = (await machine.run("sh", ["-c", "find /run/drover/kubeadm /etc/kubernetes/bootstrap-kubelet.conf -type f 2>/dev/null"]))
      .stdout;
    if (!target.startsWith("/var/lib/drover/binaries/")) throw new Error(`${name}: /usr/local/bin/kubeadm is ${target || "no link"}`);
    if (`${units}${left}` !== "") throw new Error(`${name}: left behind: ${units} ${left}`);
    return true;
  });
}

function hasTaint(node: KubernetesNode, value: string): boolean {
  return (node.spec.taints ?? []).some((taint) => taint.key === "dedicated" && taint.value === value && taint.effect === "NoSchedule");
}
