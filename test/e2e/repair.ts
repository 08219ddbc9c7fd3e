/**
 * Nodes by hand: one whose kubelet lost its credentials is reset and joins again by a repair; another is cordoned, drained, let back and rebooted by the
 * operator's commands. What is claimed is read from the cluster's own API and from the machines.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Machine } from "../testbed/machine.ts";
import { eventually } from "../testbed/program.ts";
import { joinAll } from "./join/join-all.ts";
import { JoinStage, type KubernetesNode, SET } from "./join/stage.ts";
import type { E2eScenario } from "./scenario.ts";

const NAMES = ["web-1", "web-2"] as const;
const REPAIR_MS = 600_000;

export const repairScenario: E2eScenario = {
  name: "repair",
  summary: "a node whose kubelet credentials were destroyed is reset and joins again; another is cordoned, drained, let back, rebooted",
  isShort: false,
  async run(say) {
    await using stage = await JoinStage.make({}, say);
    const [first, second] = await joinAll(stage, NAMES, say);
    await repairCredentials(stage, first!, say);
    await maintain(stage, second!, say);
    await reboot(stage, second!, say);
    const audit = await stage.site.mustDrover(["audit"]);
    for (const action of ["CreateRepair", "CordonNode", "DrainNode", "UncordonNode"])
      claim(`${action} is in the audit`, audit.includes(action), say, audit);
  },
};

function claim(sentence: string, holds: boolean, say: (line: string) => void, because = ""): void {
  if (!holds) throw new Error(`this does not hold: ${sentence}${because === "" ? "" : `; there is: ${because}`}`);
  say(`holds: ${sentence}`);
}

async function repairCredentials(stage: JoinStage, machine: Machine, say: (line: string) => void): Promise<void> {
  const { site } = stage;
  const { name } = machine;
  const before = await stage.readyNode(name, 10_000);
  const other = await stage.readyNode(NAMES[1], 10_000);
  await machine.run("rm", ["-rf", "/var/lib/kubelet/pki", "/etc/kubernetes/kubelet.conf"]);
  await machine.run("systemctl", ["restart", "kubelet.service"]);
  say(`${name}: the credentials of its kubelet are destroyed`);
  await eventually(`${name} is not Ready`, 180_000, async () => !isReady(await stage.nodeOf(name)));
  await site.mustDrover(["repair", name, "--rung", "Rejoin", "--reason", "credentials lost", "--yes"]);
  const repair = `${name}-1`;
  await site.mustDrover(["wait", `repair/${repair}`, "--for=phase=Succeeded", "--timeout", "10m"], { timeoutMs: REPAIR_MS + 10_000 });
  const after = await stage.readyNode(name, 60_000);
  const { labels } = after.metadata;
  const taints = JSON.stringify(after.spec.taints ?? []);
  claim(`${name} is another Node, Ready`, after.metadata.uid !== before.metadata.uid, say);
  claim(
    `${name} has its set's label and the profile's taint`,
    labels["drover.dev/node-set"] === SET && taints.includes("dedicated"),
    say,
    taints,
  );
  claim(`${NAMES[1]} was left alone (I3)`, (await stage.nodeOf(NAMES[1]))?.metadata.uid === other.metadata.uid, say);
  await eventually("tokens are gone", 30_000, async () => (await stage.bootstrapTokens()).every(({ nodeId }) => nodeId === undefined));
  say("holds: no bootstrap token that was minted is left in the cluster");
  await claimEvidence(stage, name, repair, say);
}

async function claimEvidence(stage: JoinStage, name: string, repair: string, say: (line: string) => void): Promise<void> {
  const { site } = stage;
  const described = await site.mustDrover(["describe", "repair", repair]);
  const evidence = /--evidence (\S+)/.exec(described)?.[1];
  if (evidence === undefined) throw new Error(`no evidence is named: ${described}`);
  const file = join(site.bed.directory, "evidence.tar.gz");
  await site.mustDrover(["node", "support", name, "--evidence", evidence, "-o", file]);
  const text = gunzipSync(await readFile(file)).toString("latin1");
  claim(
    `what was gathered before is ${Math.round(text.length / 1024)} KiB, and no key is in it (I6)`,
    !/PRIVATE KEY|client-key-data/.test(text),
    say,
  );
}

async function maintain(stage: JoinStage, { name }: Machine, say: (line: string) => void): Promise<void> {
  const { site } = stage;
  const isCordoned = async (): Promise<boolean> => (await stage.nodeOf(name))?.spec.unschedulable === true;
  for (const verb of ["cordon", "drain"]) {
    await site.mustDrover(["node", verb, name, "--reason", "by hand"]);
    await eventually(`${name} is cordoned`, 60_000, isCordoned);
    if (verb === "drain") {
      await eventually(`${name} is drained`, 120_000, async () =>
        (await site.mustDrover(["get", `node/${name}`, "-o", "json"])).includes('"Drained"'),
      );
    }
    await site.mustDrover(["node", "uncordon", name]);
    await eventually(`${name} is let back`, 60_000, async () => !(await isCordoned()));
    say(`holds: ${name} took no pods after ${verb}, and takes them again`);
  }
}

async function reboot(stage: JoinStage, machine: Machine, say: (line: string) => void): Promise<void> {
  const { site } = stage;
  const { name } = machine;
  const bootId = async (): Promise<string> => machine.readFile("/proc/sys/kernel/random/boot_id");
  const before = await bootId();
  await site.mustDrover(["node", "reboot", name, "--reason", "by hand", "--yes"]);
  // A reboot ends systemd-nspawn, whose keeper starts it again: that is us.
  await eventually(`${name} goes down`, 300_000, async () => {
    try {
      await machine.run("true", []);
      return false;
    } catch {
      return true;
    }
  });
  say(`${name} went down for its reboot`);
  await machine.boot();
  await site.mustDrover(["wait", `repair/${name}-1`, "--for=phase=Succeeded", "--timeout", "10m"], { timeoutMs: REPAIR_MS + 10_000 });
  claim(`${name} came up with another boot id, and is Ready`, (await bootId()) !== before && isReady(await stage.nodeOf(name)), say);
  claim(`${name} takes pods again`, (await stage.nodeOf(name))?.spec.unschedulable !== true, say);
}

function isReady(node: KubernetesNode | undefined): boolean {
  return node?.status.conditions.some(({ type, status }) => type === "Ready" && status === "True") === true;
}
