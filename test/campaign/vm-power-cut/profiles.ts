/** Two profiles that differ in every step that a whole machine has, and what a machine looks like that is in sync with one of them. */
import type { LockEntry, Site } from "../../testbed/site.ts";
import type { VirtualMachine } from "../../testbed/vm/virtual-machine.ts";

const apiVersion = "drover.dev/v1alpha1";

export type Letter = "a" | "b";
export const other = (letter: Letter): Letter => (letter === "a" ? "b" : "a");

export interface PowerProfile {
  readonly letter: Letter;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly modules: readonly string[];
  readonly isSwapOff: boolean;
  readonly maxConcurrentDownloads: number;
  readonly images: readonly LockEntry[];
}

export async function layOutProfiles(site: Site): Promise<Readonly<Record<Letter, PowerProfile>>> {
  const pushed = await site.pushImages({
    "registry.example/a/app:1": 2_000_000,
    "registry.example/a/proxy:1": 900_000,
    "registry.example/b/app:2": 2_200_000,
    "registry.example/b/proxy:2": 800_000,
  });
  const profiles: Record<Letter, PowerProfile> = {
    a: {
      letter: "a",
      sysctls: { "net.ipv4.neigh.default.gc_thresh3": "100000", "vm.max_map_count": "262144", "net.bridge.bridge-nf-call-iptables": "1" },
      modules: ["br_netfilter"],
      isSwapOff: true,
      maxConcurrentDownloads: 3,
      images: pushed.slice(0, 2),
    },
    b: {
      letter: "b",
      sysctls: { "net.ipv4.neigh.default.gc_thresh3": "90000", "vm.max_map_count": "524288", "net.core.somaxconn": "8192" },
      modules: ["br_netfilter", "dummy"],
      isSwapOff: false,
      maxConcurrentDownloads: 5,
      images: pushed.slice(2),
    },
  };
  await site.mustDrover([
    "apply",
    "-f",
    await site.manifest("profiles", ...Object.values(profiles).flatMap((each) => objectsOf(each, site))),
  ]);
  return profiles;
}

export function nodeSetOf(machine: string, letter: Letter): object {
  const spec = { selector: { matchLabels: { subject: machine } }, profile: `power-${letter}`, strategy: { maxUnavailable: 1 } };
  return { apiVersion, kind: "NodeSet", metadata: { name: machine }, spec };
}

/** @returns what on the machine is not as the profile says; empty: nothing */
export async function deviations(machine: VirtualMachine, profile: PowerProfile): Promise<readonly string[]> {
  const found: string[] = [];
  const expect = (isSo: boolean, otherwise: string): void => void (isSo || found.push(otherwise));
  const text = async (program: string, ...args: string[]): Promise<string> => (await machine.run(program, args)).stdout;
  for (const [key, value] of Object.entries(profile.sysctls)) {
    const actual = (await text("cat", `/proc/sys/${key.replaceAll(".", "/")}`)).trim();
    expect(actual === value, `${key} is ${actual}, not ${value}`);
  }
  const modules = await text("cat", "/proc/modules");
  const listed = await text("cat", "/etc/modules-load.d/90-drover.conf");
  for (const name of profile.modules) {
    expect(new RegExp(`^${name} `, "m").test(modules), `module ${name} is not loaded`);
    expect(listed.split("\n").includes(name), `modules-load.d does not name ${name}`);
  }
  const swaps = (await text("cat", "/proc/swaps")).trim().split("\n").length - 1;
  expect((swaps === 0) === profile.isSwapOff, `${swaps} swaps are in use`);
  expect((await text("cat", "/etc/fstab")).includes("# drover:") === profile.isSwapOff, "fstab is not as the swap step leaves it");
  const dump = await text("containerd", "config", "dump");
  expect(
    new RegExp(`max_concurrent_downloads = ${profile.maxConcurrentDownloads}\\b`).test(dump),
    `containerd has no max_concurrent_downloads = ${profile.maxConcurrentDownloads}`,
  );
  const images = (await text("ctr", "-n", "k8s.io", "images", "list")).split("\n");
  for (const { name, digest } of profile.images) {
    expect(
      images.some((line) => line.startsWith(`${name} `) && line.includes(digest)),
      `${name} is not there as ${digest}`,
    );
  }
  return found;
}

function objectsOf(profile: PowerProfile, site: Site): object[] {
  const { letter, sysctls, modules, isSwapOff, maxConcurrentDownloads, images } = profile;
  const name = `power-${letter}`;
  const spec = {
    kernelModules: { names: modules },
    sysctl: { values: sysctls },
    swap: { mode: isSwapOff ? "Off" : "Leave" },
    containerd: {
      maxConcurrentDownloads,
      registries: [{ host: "registry.example", mirrors: [{ url: `http://${site.registry}` }] }],
    },
    images: { lock: name },
  };
  return [
    { apiVersion, kind: "NodeProfile", metadata: { name }, spec },
    { apiVersion, kind: "ImageLock", metadata: { name }, spec: { images } },
  ];
}
