/**
 * A rollout that restarts the kubelet of three nodes one after the other, each drained before, under a PodDisruptionBudget; the coordinator is killed
 * while a node is cordoned. What was so at every moment is told by a watcher that asks the cluster itself.
 */
import { clusterImageArchives, PAUSE_IMAGE } from "../../testbed/roots/cluster-images.ts";
import { importImages } from "../../testbed/full/operator.ts";
import { eventually } from "../../testbed/program.ts";
import { joinAll } from "../join/join-all.ts";
import { CLUSTER, JoinStage, SET } from "../join/stage.ts";
import type { E2eScenario } from "../scenario.ts";
import { type ClusterWatcher, isHealthyPod, watchCluster, type WatchedState } from "./watcher.ts";

const NAMES = ["web-1", "web-2", "web-3"] as const;
const REPLICAS = 4;
const MIN_AVAILABLE = 3;
const CORDON = "drover.dev/cordoned";
const OF_GUARDED = "app=guarded";

export const drainScenario: E2eScenario = {
  name: "drain",
  summary:
    "three joined nodes: their kubelets restart one after the other, each drained under a PodDisruptionBudget; kill -9 in the middle",
  isShort: false,
  async run(say) {
    await using stage = await JoinStage.make({}, say);
    const [pause] = (await clusterImageArchives()).slice(-1);
    await joinAll(stage, NAMES, say, { prepare: (machine) => importImages(machine, [pause!]) });
    await deploy(stage, say);
    const { directory } = stage.site.bed;
    await using pods = await watchCluster(stage.cluster, directory, "pods", OF_GUARDED);
    await using nodes = await watchCluster(stage.cluster, directory, "nodes", "drover.dev/node-set");
    await restartKubelets(stage, nodes, say);
    await claimBudgetHeld(pods, say);
    await claimOneAtATime(stage, nodes, say);
  },
};

async function deploy(stage: JoinStage, say: (line: string) => void): Promise<void> {
  const { cluster } = stage;
  const labels = { app: "guarded" };
  const spread = {
    maxSkew: 1,
    topologyKey: "kubernetes.io/hostname",
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: labels },
  };
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "guarded" },
    spec: {
      replicas: REPLICAS,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          containers: [{ name: "pause", image: PAUSE_IMAGE, imagePullPolicy: "Never" }],
          tolerations: [{ key: "dedicated", operator: "Exists" }],
          topologySpreadConstraints: [spread],
          terminationGracePeriodSeconds: 5,
        },
      },
    },
  };
  const budget = {
    apiVersion: "policy/v1beta1",
    kind: "PodDisruptionBudget",
    metadata: { name: "guarded" },
    spec: { minAvailable: MIN_AVAILABLE, selector: { matchLabels: labels } },
  };
  const list = { apiVersion: "v1", kind: "List", items: [deployment, budget] };
  await cluster.controlPlane.writeFile("/run/guarded.json", JSON.stringify(list));
  await cluster.kubectl(["apply", "-f", "/run/guarded.json"]);
  await cluster.kubectl(["rollout", "status", "deployment/guarded", "--timeout=120s"], 130_000);
  say(`${REPLICAS} pods are ready, and a PodDisruptionBudget wants ${MIN_AVAILABLE} of them always`);
}

async function restartKubelets(stage: JoinStage, nodes: ClusterWatcher, say: (line: string) => void): Promise<void> {
  const { site } = stage;
  // The strategy first: what begins with the profile goes by it.
  const strategy = { maxUnavailable: 1, drain: { from: "restart", deadline: "5m" } };
  await site.mustDrover(["apply", "-f", await stage.manifest("careful", {}, strategy)]);
  await site.mustDrover(["apply", "-f", await stage.manifest("more-pods", { maxPods: 43 }, strategy)]);
  say("a profile with another setting of the kubelet is applied");
  await eventually("a node is cordoned", 120_000, async () => cordonedNow(await nodes.states()).length > 0);
  site.coordinator.signal("SIGKILL");
  await site.coordinator.ended;
  say(`the coordinator is killed (-9) while ${cordonedNow(await nodes.states()).join(", ")} is cordoned, and started again`);
  await site.startCoordinator();
  const rollout = (await site.mustDrover(["get", "rollouts", "-o", "name"])).trim().split("\n").at(-1)!.replace(/^.*\//, "");
  const status = await site.drover(["rollout", "status", rollout, "--timeout", "15m"], { timeoutMs: 920_000 });
  if (status.exitCode !== 0) throw new Error(`the rollout did not end well (${status.exitCode}): ${status.stdout}${status.stderr}`);
  for (const name of NAMES) {
    await eventually(`${name} holds 43 pods`, 90_000, async () => (await stage.nodeOf(name))?.status.capacity["pods"] === "43");
  }
  say(`holds: the kubelet of each runs with the new setting, by ${rollout} of NodeSet/${SET} in Cluster/${CLUSTER}`);
  await eventually("no node is cordoned", 90_000, async () => cordonedNow(await nodes.states()).length === 0);
}

function cordonedNow(states: readonly WatchedState[]): string[] {
  return cordonedIn(states.at(-1) ?? new Map());
}

function cordonedIn(state: WatchedState): string[] {
  return [...state.values()].flatMap(({ metadata, spec }) =>
    spec.unschedulable === true || metadata.annotations?.[CORDON] !== undefined ? [metadata.name] : [],
  );
}

async function claimBudgetHeld(pods: ClusterWatcher, say: (line: string) => void): Promise<void> {
  const states = await pods.states();
  // The first ones come one by one.
  const counts = states.slice(REPLICAS - 1).map((state) => [...state.values()].filter(isHealthyPod).length);
  const least = Math.min(...counts);
  if (least < MIN_AVAILABLE)
    throw new Error(`at some moment only ${least} pods were ready; the PodDisruptionBudget wants ${MIN_AVAILABLE}`);
  const names = new Set(states.flatMap((state) => [...state.keys()]));
  if (names.size <= REPLICAS) throw new Error("no pod was ever replaced: nothing was drained");
  say(
    `holds: in none of ${counts.length} states were fewer than ${MIN_AVAILABLE} pods ready (at the least ${least}); ${names.size} pods have been there`,
  );
}

async function claimOneAtATime(stage: JoinStage, nodes: ClusterWatcher, say: (line: string) => void): Promise<void> {
  const states = await nodes.states();
  const most = Math.max(...states.map((state) => cordonedIn(state).length));
  const ever = new Set(states.flatMap(cordonedIn));
  if (most !== 1) throw new Error(`${most} nodes were cordoned at once`);
  const never = NAMES.filter((name) => !ever.has(name));
  if (never.length > 0) throw new Error(`never cordoned, so never drained: ${never.join(", ")}`);
  for (const name of NAMES) {
    const described = await stage.site.mustDrover(["get", `node/${name}`, "-o", "json"]);
    if (described.includes('"Maintenance"')) throw new Error(`${name} still shows condition Maintenance: ${described}`);
  }
  say(`holds: each of ${NAMES.length} nodes was cordoned, one at a time, and none is now, in ${states.length} states`);
}
