/** What a container shares with its host and a machine does not: global sysctls, modules, swap, a reboot. On a real kernel in qemu. */
import type { VirtualMachine } from "../testbed/vm/virtual-machine.ts";
import { eventually } from "../testbed/program.ts";
import { Site } from "../testbed/site.ts";
import type { E2eScenario } from "./scenario.ts";

const apiVersion = "drover.dev/v1alpha1";
const NAME = "vm-1";
/** Neighbour tables of a cluster of thousands of nodes; their overflow hangs every connection for seconds. */
const NEIGHBOURS = {
  "net.ipv4.neigh.default.gc_thresh1": "80000",
  "net.ipv4.neigh.default.gc_thresh2": "90000",
  "net.ipv4.neigh.default.gc_thresh3": "100000",
};
const SYSCTLS = { ...NEIGHBOURS, "vm.max_map_count": "262144", "net.bridge.bridge-nf-call-iptables": "1" };

export const vmScenario: E2eScenario = {
  name: "vm",
  summary: "a virtual machine: global sysctls, kernel modules, swap off and staying off, a real reboot, and all of it taken back",
  isShort: true,
  async run(say) {
    await using site = await Site.make({ intervals: { driftScan: "10s", poll: "10s" } });
    const machine = await site.addMachine(NAME, { role: "vm" }, { kind: "vm" });
    await eventually("it is enrolled", 120_000, async () => (await site.drover(["get", "node", NAME])).exitCode === 0);
    say("a virtual machine booted and enrolled");
    const before = await values(machine);
    const holds = async (sentence: string, ask: () => Promise<boolean>): Promise<void> => {
      if (!(await ask())) throw new Error(`this does not hold: ${sentence}`);
      say(`holds: ${sentence}`);
    };
    await holds("it swaps, and has no br_netfilter", async () => {
      return (await swaps(machine)) > 0 && !(await hasModule(machine)) && before["net.bridge.bridge-nf-call-iptables"] === undefined;
    });

    await apply(site, { kernelModules: { names: ["br_netfilter"] }, sysctl: { values: SYSCTLS }, swap: { mode: "Off" } }, 1);
    const isRight = async (): Promise<boolean> => {
      const now = await values(machine);
      const right = Object.entries(SYSCTLS).every(([key, value]) => now[key] === value);
      return right && (await hasModule(machine)) && (await swaps(machine)) === 0;
    };
    await holds("neighbour tables, memory maps and a module's own sysctl are set, the module is loaded, no swap is in use", isRight);

    const bootId = machine.bootId;
    await machine.reboot();
    await holds("it is another boot", async () => machine.bootId !== bootId);
    await holds("all of it holds after the reboot, before anything was applied again", isRight);
    await site.mustDrover(["wait", `node/${NAME}`, "--for=phase=InSync", "--timeout", "3m"], { timeoutMs: 190_000 });
    say("in sync after the reboot");

    await must(machine, "swapon", ["--all", "--verbose"]);
    await must(machine, "sh", ["-c", "swapon $(sed -n 's/^# drover: swap off: \\(\\S*\\).*/\\1/p' /etc/fstab | head -n 1) || true"]);
    await must(machine, "sysctl", ["-w", "net.ipv4.neigh.default.gc_thresh1=128"]);
    await eventually("drift is repaired", 120_000, isRight);
    say("holds: swap that was switched on and a table that was made small by hand are put right");

    await apply(site, { sysctl: { values: { "vm.max_map_count": "262144" } } }, 2);
    await holds("what left the profile is as it was before: tables, fstab, swap in use; the module's file is gone", async () => {
      const now = await values(machine);
      const isBack = Object.keys(NEIGHBOURS).every((key) => now[key] === before[key]);
      const files = await machine.run("cat", ["/etc/modules-load.d/90-drover.conf"]);
      return isBack && now["vm.max_map_count"] === "262144" && (await swaps(machine)) > 0 && files.exitCode !== 0;
    });
  },
};

async function apply(site: Site, spec: object, rollout: number): Promise<void> {
  const manifest = await site.manifest(
    `vm-${rollout}`,
    { apiVersion, kind: "NodeProfile", metadata: { name: "vm" }, spec },
    { apiVersion, kind: "NodeSet", metadata: { name: "vm" }, spec: { selector: { matchLabels: { role: "vm" } }, profile: "vm" } },
  );
  await site.mustDrover(["apply", "-f", manifest]);
  await site.mustDrover(["rollout", "status", `vm-${rollout}`, "--timeout", "4m"], { timeoutMs: 250_000 });
}

async function values(machine: VirtualMachine): Promise<Readonly<Record<string, string | undefined>>> {
  const found: Record<string, string> = {};
  for (const key of Object.keys(SYSCTLS)) {
    const read = await machine.run("cat", [`/proc/sys/${key.replaceAll(".", "/")}`]);
    if (read.exitCode === 0) found[key] = read.stdout.trim();
  }
  return found;
}

async function hasModule(machine: VirtualMachine): Promise<boolean> {
  return /^br_netfilter /m.test(await must(machine, "cat", ["/proc/modules"]));
}

async function swaps(machine: VirtualMachine): Promise<number> {
  return (await must(machine, "cat", ["/proc/swaps"])).trim().split("\n").length - 1;
}

async function must(machine: VirtualMachine, program: string, args: readonly string[]): Promise<string> {
  const result = await machine.run(program, args);
  if (result.exitCode !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${result.exitCode}: ${result.stderr}`);
  return result.stdout;
}
