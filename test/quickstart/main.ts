/**
 * `npm run quickstart [-- --keep] [--machines]`: the main job, for real, on embedded defaults, in namespaces of its own.
 * Every claim it prints is verified on the machines; anything that does not hold ends it with exit code 1.
 */
import { copyFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { Site } from "../testbed/site.ts";
import { keep } from "./keep.ts";
import { Narrator } from "./narrator.ts";

const { values: options } = parseArgs({
  options: { keep: { type: "boolean", default: false }, machines: { type: "boolean", default: false } },
});
if (process.getuid?.() !== 0) {
  console.error("quickstart: namespaces need root; run it as root (sudo npm run quickstart)");
  process.exit(1);
}
const apiVersion = "drover.dev/v1alpha1";
const tell = new Narrator();
if (options.machines) {
  // Loaded only here: it needs more than the story of three light machines.
  const { tellOfMachines } = await import("./machines.ts");
  const code = await tellOfMachines(tell, options).then(
    () => 0,
    (error: unknown) => {
      console.error(`\nquickstart failed: ${(error as Error).message}`);
      return 1;
    },
  );
  process.exit(code);
}

tell.chapter("A coordinator with embedded NATS and SQLite, a registry, in network namespaces of their own");
const site = await Site.make({ intervals: { driftScan: "5s", poll: "30s" } });
try {
  await story();
  nextSteps();
  if (options.keep) await keep(site, tell);
} catch (error) {
  console.error(`\nquickstart failed: ${(error as Error).message}`);
  await copyFile(site.coordinatorLogFile, "quickstart-coordinator.log").catch(() => {});
  console.error("the coordinator's log is in quickstart-coordinator.log");
  for (const machine of site.machines.values()) {
    for (const service of ["containerd", "drover-agent"]) {
      const lines = (await machine.serviceLog(service)).split("\n").slice(-15);
      console.error(`--- last lines of ${service} on ${machine.name}:\n${lines.join("\n")}`);
    }
  }
  process.exitCode = 1;
} finally {
  await site[Symbol.asyncDispose]();
}
process.exit();

async function story(): Promise<void> {
  await site.startRegistry();
  const images = await site.pushImages({
    "registry.example/base/pause:3.9": 300_000,
    "registry.example/web/proxy:2.1": 4_000_000,
    "registry.example/web/app:7": 8_000_000,
    "registry.example/web/metrics:1.4": 2_000_000,
  });
  tell.say(`coordinator on ${site.bed.address}:7443, registry on ${site.registry} with ${images.length} images`);

  tell.chapter("Three machines enrol: each spends a single-use join token and makes its own keys");
  const machines = await Promise.all(["web-1", "web-2", "web-3"].map((name) => site.addMachine(name, { role: "web" })));
  await eventually(
    "three nodes are known",
    60_000,
    async () => (await site.drover(["get", "nodes", "-o", "name"])).stdout.split("\n").length === 3,
  );
  await tell.show(site, ["get", "nodes"]);
  for (const machine of machines) {
    await tell.claim(
      `${machine.name} has spent its join token: the file is gone`,
      async () => (await machine.run("test", ["-e", "/etc/drover/join-token"])).exitCode !== 0,
    );
  }

  tell.chapter("A profile: sysctls, containerd settings, a registry mirror, preloaded images; and a set of nodes that should have it");
  const lock = { apiVersion, kind: "ImageLock", metadata: { name: "web-images" }, spec: { images } };
  const set = {
    apiVersion,
    kind: "NodeSet",
    metadata: { name: "web" },
    spec: { selector: { matchLabels: { role: "web" } }, profile: "web", strategy: { maxUnavailable: 1 } },
  };
  const first = await site.manifest(
    "profile",
    profile({ "net.core.somaxconn": "4096", "net.ipv4.tcp_max_syn_backlog": "8192" }, 3),
    lock,
    set,
  );
  await expectExit(0, ["apply", "-f", first, "--dry-run=server"]);
  await expectExit(0, ["apply", "-f", first]);
  await followRollouts();
  await tell.show(site, ["get", "nodes", "-o", "wide"]);
  for (const machine of machines) {
    await claimSysctl(machine, "net.core.somaxconn", "4096");
    await claimSysctl(machine, "net.ipv4.tcp_max_syn_backlog", "8192");
    await tell.claim(
      `${machine.name}: containerd's effective configuration has 3 parallel downloads and our registry folder, and the operator's own setting still`,
      async () => {
        const dump = (await machine.run("containerd", ["config", "dump"])).stdout;
        return (
          /max_concurrent_downloads = 3/.test(dump) &&
          /config_path = "\/etc\/containerd\/certs.d"/.test(dump) &&
          /restrict_oom_score_adj = true/.test(dump)
        );
      },
    );
    await tell.claim(`${machine.name}: all ${images.length} images are there by digest, and carry the pin`, async () => {
      const listed = (await machine.run("ctr", ["-n", "k8s.io", "images", "list"])).stdout;
      return images.every(({ name, digest }) =>
        listed
          .split("\n")
          .some((line) => line.startsWith(`${name} `) && line.includes(digest) && line.includes("io.cri-containerd.pinned=pinned")),
      );
    });
  }

  tell.chapter("A change: what differs, then the rollout one machine at a time");
  const second = await site.manifest(
    "profile-2",
    profile({ "net.core.somaxconn": "8192", "net.ipv4.tcp_max_syn_backlog": "8192", "net.ipv4.tcp_keepalive_time": "600" }, 5),
  );
  await expectExit(1, ["diff", "-f", second]);
  await expectExit(0, ["apply", "-f", second, "--dry-run=node"]);
  let mostAtOnce = 0;
  const watching = new AbortController();
  const watched = watchInChange(watching.signal, (inChange) => {
    mostAtOnce = Math.max(mostAtOnce, inChange);
  });
  await expectExit(0, ["apply", "-f", second]);
  await followRollouts();
  watching.abort();
  await watched;
  await tell.claim("never more than one machine was in change at once", () => mostAtOnce === 1);
  for (const machine of machines) {
    await claimSysctl(machine, "net.core.somaxconn", "8192");
    await claimSysctl(machine, "net.ipv4.tcp_keepalive_time", "600");
  }

  tell.chapter("Somebody changes a sysctl by hand; the agent's drift scan puts it back");
  const victim = machines[1]!;
  tell.say(`on ${victim.name}: sysctl -w net.core.somaxconn=128`);
  await victim.run("sh", ["-c", "echo 128 > /proc/sys/net/core/somaxconn"]);
  await tell.claim(
    `${victim.name}: net.core.somaxconn is 128 now`,
    async () => (await victim.readFile("/proc/sys/net/core/somaxconn")) === "128",
  );
  await eventually("the drift is repaired", 60_000, async () => (await victim.readFile("/proc/sys/net/core/somaxconn")) === "8192");
  await claimSysctl(victim, "net.core.somaxconn", "8192");
  await eventually("the coordinator knows of the drift", 60_000, async () =>
    (await site.drover(["describe", "node", victim.name])).stdout.includes("Drift:"),
  );
  await tell.show(site, ["describe", "node", victim.name]);
  await tell.show(site, ["audit", "--limit", "8"]);
  tell.end();
}

function profile(values: Record<string, string>, maxConcurrentDownloads: number): object {
  return {
    apiVersion,
    kind: "NodeProfile",
    metadata: { name: "web" },
    spec: {
      sysctl: { values },
      containerd: { maxConcurrentDownloads, registries: [{ host: "registry.example", mirrors: [{ url: `http://${site.registry}` }] }] },
      images: { lock: "web-images" },
    },
  };
}

async function expectExit(code: number, words: readonly string[]): Promise<void> {
  const { exitCode } = await tell.show(site, words);
  if (exitCode !== code) throw new Error(`drover ${words.join(" ")} ended with ${exitCode}, not ${code}`);
}

/** Every rollout that has not ended yet, to its end, with what the nodes say on the way. */
async function followRollouts(): Promise<void> {
  const rollouts = JSON.parse(await site.mustDrover(["get", "rollouts", "-o", "json"])) as {
    items: { metadata: { name: string }; status?: { phase: string } }[];
  };
  const open = rollouts.items.filter(({ status }) => status?.phase !== "Complete" && status?.phase !== "Superseded");
  for (const { metadata } of open) await expectExit(0, ["rollout", "status", metadata.name, "--progress", "--timeout", "3m"]);
}

async function claimSysctl(machine: LightMachine, key: string, value: string): Promise<void> {
  await tell.claim(
    `${machine.name}: ${key} is ${value}`,
    async () => (await machine.readFile(`/proc/sys/${key.replaceAll(".", "/")}`)) === value,
  );
}

/** Reports how many nodes the running rollouts have in change, each time the coordinator tells. */
async function watchInChange(signal: AbortSignal, seen: (inChange: number) => void): Promise<void> {
  while (!signal.aborted) {
    const answer = await site.drover(["get", "rollouts", "-o", "json"]);
    if (answer.exitCode !== 0) continue;
    const { items } = JSON.parse(answer.stdout) as { items: { status?: { phase: string; inChange: number } }[] };
    for (const { status } of items) if (status?.phase === "Progressing") seen(status.inChange);
  }
}

function nextSteps(): void {
  tell.chapter("What to look at next");
  tell.say(`  npm run quickstart -- --keep      the same, left running, to try the CLI on
  npm run quickstart -- --machines  booted machines join a real Kubernetes cluster
  README.md                         the picture and the layout
  docs/                             how it works, and why
  test/quickstart/main.ts           how this was done`);
}
