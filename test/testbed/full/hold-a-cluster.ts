/**
 * Makes a real cluster to look at: a control plane by `kubeadm init` and workers by `kubeadm join`, all by hand; says how
 * long each took and how to get in, and waits to be stopped.
 * Usage: node test/testbed/full/hold-a-cluster.ts [COUNT_OF_WORKERS] ; --once ends instead of waiting
 */
import { parseArgs } from "node:util";
import { Bed } from "../bed.ts";
import { eventually } from "../program.ts";
import { rootFileSystem } from "../roots/root-file-system.ts";
import { makeCluster } from "./cluster.ts";

const { values, positionals } = parseArgs({ options: { once: { type: "boolean", default: false } }, allowPositionals: true });

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  console.log(`${what}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return result;
}

await timed("root file system", rootFileSystem);
await using bed = await Bed.make();
const controlPlane = await timed("boot of cp-1", () => bed.addFullMachine("cp-1"));
const cluster = await timed("cluster, images and kubeadm init", () => makeCluster(controlPlane));
const names = Array.from({ length: Number(positionals[0] ?? "1") }, (_, index) => `worker-${index + 1}`);
const workers = await timed(`boot of ${names.join(", ")}`, () => Promise.all(names.map((name) => bed.addFullMachine(name))));
await timed("kubeadm join of all", () => Promise.all(workers.map((worker) => cluster.joinByHand(worker))));
await timed("all Ready", () =>
  Promise.all(names.map((name) => eventually(`${name} is Ready`, 90_000, async () => cluster.nodeIsReady(name)))),
);
console.log(await cluster.kubectl(["get", "nodes", "-o", "wide"]));
for (const machine of [controlPlane, ...workers]) console.log(`into ${machine.name}: nsenter --target=${machine.pid} --all`);
if (!values.once) {
  console.log("Ctrl-C ends it all.");
  await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
}
