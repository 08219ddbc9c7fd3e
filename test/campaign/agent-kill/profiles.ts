/** Two profiles that differ in every step, and what a machine looks like that is in sync with one of them. */
import { join } from "node:path";
import { makeImage, writeOciArchive } from "../../support/images/index.ts";
import type { LightMachine } from "../../testbed/light/light-machine.ts";
import type { LockEntry, Site } from "../../testbed/site.ts";

const apiVersion = "drover.dev/v1alpha1";

export type Letter = "a" | "b";
export const other = (letter: Letter): Letter => (letter === "a" ? "b" : "a");

interface LockedImage extends LockEntry {
  /** On the machine; undefined: pulled through the mirror. */
  readonly archive?: string;
}

export interface Profile {
  readonly letter: Letter;
  /** Also those that only the other profile sets: what they were before Drover came. */
  readonly sysctls: Readonly<Record<string, string>>;
  readonly ownSysctls: readonly string[];
  readonly maxConcurrentDownloads: number;
  readonly mirroredHosts: readonly string[];
  readonly images: readonly LockedImage[];
}

const MIRRORED = ["registry.example", "other.example"];

export const archiveFile = (letter: Letter): string => `archive-${letter}.tar`;

/** Pushes their images, writes their archives into the bed's folder and applies them; no machine has one of them yet. */
export async function layOutProfiles(site: Site): Promise<Readonly<Record<Letter, Profile>>> {
  const pushed = await site.pushImages({
    "registry.example/a/pause:3.9": 200_000,
    "registry.example/a/app:7": 1_500_000,
    "registry.example/b/pause:3.10": 250_000,
    "other.example/b/app:8": 1_200_000,
  });
  const profiles = {
    a: {
      letter: "a",
      sysctls: {
        "net.core.somaxconn": "4096",
        "net.ipv4.tcp_max_syn_backlog": "8192",
        "net.ipv4.tcp_keepalive_time": "600",
        "net.ipv4.tcp_fin_timeout": "60",
      },
      ownSysctls: ["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_keepalive_time"],
      maxConcurrentDownloads: 3,
      mirroredHosts: ["registry.example"],
      images: [...pushed.slice(0, 2), await archivedImage(site, "a", 101)],
    },
    b: {
      letter: "b",
      sysctls: {
        "net.core.somaxconn": "8192",
        "net.ipv4.tcp_max_syn_backlog": "4096",
        "net.ipv4.tcp_keepalive_time": "7200",
        "net.ipv4.tcp_fin_timeout": "30",
      },
      ownSysctls: ["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_fin_timeout"],
      maxConcurrentDownloads: 5,
      mirroredHosts: MIRRORED,
      images: [...pushed.slice(2), await archivedImage(site, "b", 102)],
    },
  } as const satisfies Record<Letter, Profile>;
  await site.mustDrover([
    "apply",
    "-f",
    await site.manifest("profiles", ...Object.values(profiles).flatMap((each) => objectsOf(each, site))),
  ]);
  return profiles;
}

/** The set of one machine, wanting that profile. */
export function nodeSetOf(machine: string, letter: Letter): object {
  const spec = { selector: { matchLabels: { subject: machine } }, profile: `kill-${letter}`, strategy: { maxUnavailable: 1 } };
  return { apiVersion, kind: "NodeSet", metadata: { name: machine }, spec };
}

/** @returns what on the machine is not as the profile says; empty: nothing */
export async function deviations(machine: LightMachine, profile: Profile, opposite: Profile): Promise<readonly string[]> {
  const keys = Object.keys(profile.sysctls);
  const files = keys.map((key) => `/proc/sys/${key.replaceAll(".", "/")}`);
  const hostsFiles = MIRRORED.map((host) => `/etc/containerd/certs.d/${host}/hosts.toml`);
  const [values, dump, listed, ownFile, hosts] = await Promise.all([
    machine.run("cat", files),
    machine.run("containerd", ["config", "dump"]),
    machine.run("ctr", ["-n", "k8s.io", "images", "list"]),
    machine.run("cat", ["/etc/sysctl.d/90-drover.conf"]),
    machine.run("ls", hostsFiles),
  ]);
  const found: string[] = [];
  const expect = (isSo: boolean, otherwise: string): void => void (isSo || found.push(otherwise));
  const actual = values.stdout.split("\n").map((line) => line.trim());
  for (const [index, key] of keys.entries()) {
    expect(actual[index] === profile.sysctls[key], `${key} is ${actual[index]}, not ${profile.sysctls[key]}`);
    const line = `${key} = ${profile.sysctls[key]}`;
    expect(
      ownFile.stdout.split("\n").includes(line) === profile.ownSysctls.includes(key),
      `90-drover.conf ${profile.ownSysctls.includes(key) ? "lacks" : "still has"} '${line}'`,
    );
  }
  expect(
    new RegExp(`max_concurrent_downloads = ${profile.maxConcurrentDownloads}\\b`).test(dump.stdout),
    `containerd config dump has no max_concurrent_downloads = ${profile.maxConcurrentDownloads}`,
  );
  expect(dump.stdout.includes('config_path = "/etc/containerd/certs.d"'), "containerd config dump does not name certs.d");
  expect(dump.stdout.includes("restrict_oom_score_adj = true"), "containerd config dump has lost the operator's own setting");
  for (const [index, host] of MIRRORED.entries()) {
    const isWanted = profile.mirroredHosts.includes(host);
    expect(hosts.stdout.includes(hostsFiles[index]!) === isWanted, `${hostsFiles[index]} is ${isWanted ? "missing" : "still there"}`);
  }
  const lines = listed.stdout.split("\n");
  const lineOf = (name: string): string => lines.find((line) => line.startsWith(`${name} `)) ?? "";
  for (const { name, digest } of profile.images) {
    expect(lineOf(name).includes(digest), `${name} is not there as ${digest}`);
    expect(isPinned(lineOf(name)), `${name} is not pinned`);
  }
  for (const { name } of opposite.images) expect(!isPinned(lineOf(name)), `${name} left the lock and is still pinned`);
  return found;
}

function isPinned(line: string): boolean {
  return line.includes("io.cri-containerd.pinned=pinned");
}

function objectsOf(profile: Profile, site: Site): object[] {
  const { letter, sysctls, ownSysctls, maxConcurrentDownloads, mirroredHosts, images } = profile;
  const name = `kill-${letter}`;
  const mirrors = [{ url: `http://${site.registry}` }];
  const spec = {
    sysctl: { values: Object.fromEntries(ownSysctls.map((key) => [key, sysctls[key]])) },
    containerd: { maxConcurrentDownloads, registries: mirroredHosts.map((host) => ({ host, mirrors })) },
    images: { lock: name },
  };
  return [
    { apiVersion, kind: "NodeProfile", metadata: { name }, spec },
    { apiVersion, kind: "ImageLock", metadata: { name }, spec: { images } },
  ];
}

async function archivedImage(site: Site, letter: Letter, seed: number): Promise<LockedImage> {
  const name = `archived.example/${letter}/tool:1`;
  const image = makeImage({ sizeBytes: 400_000, seed });
  await writeOciArchive(join(site.bed.directory, archiveFile(letter)), image, name);
  return { name, digest: image.digest, size: image.sizeBytes, pinned: true, archive: `/var/lib/archives/${archiveFile(letter)}` };
}
