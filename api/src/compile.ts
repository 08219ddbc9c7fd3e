/** Turns a profile, its image locks and the cluster its set joins into the steps of a plan. Deterministic: the same in, the same bytes out. */
import {
  BinariesSpec,
  ContainerdSpec,
  type Facts,
  ImagesSpec,
  KernelModulesSpec,
  Probe,
  Step,
  SwapMode,
  SwapSpec,
  SysctlSpec,
} from "@drover/proto";
import { compareText, contentDigest } from "./canonical-json.ts";
import { parseDurationMs } from "./duration.ts";
import { kubeadmSpec, kubeletSpec, type Membership, membershipContent } from "./kubernetes-steps.ts";
import { checkKubelet } from "./kubelet-rules.ts";
import type { ImageLock, LockedImageEntry, NodeProfile } from "./objects.ts";
import { type Finding, formatPath, type Problem } from "./problems.ts";
import { parseBytes } from "./quantity.ts";
import { stepIdOf } from "./step-id.ts";
import { canonicalSysctlValue } from "./sysctl-rules.ts";

export type Compilation =
  | { readonly ok: true; readonly steps: readonly Step[]; readonly probes: readonly Probe[]; readonly revision: string }
  /** Paths are the profile's; there are no lines. */
  | { readonly ok: false; readonly problems: readonly Problem[] };

type ContainerdSection = NonNullable<NodeProfile["spec"]["containerd"]>;
type ImagesSection = NonNullable<NodeProfile["spec"]["images"]>;

/**
 * @param profile valid by validateObject
 * @param locks at least the ImageLock that the profile names
 * @param facts of the node it is for; undefined: not known, nothing is checked against them
 * @param membership of the node's set in a cluster; undefined: it joins none
 */
export function compile(profile: NodeProfile, locks: readonly ImageLock[], facts: Facts | undefined, membership?: Membership): Compilation {
  const { containerd, images } = profile.spec;
  const findings = [
    ...(images === undefined ? [] : checkLock(images, locks)),
    ...(containerd === undefined ? [] : checkContainerdVersion(facts)),
    ...checkKubeletVersion(profile, facts),
  ];
  if (findings.length > 0) {
    const file = `NodeProfile/${profile.metadata.name}`;
    return {
      ok: false,
      problems: findings.map(({ path, message, hint }) => ({ file, line: 0, column: 0, path: formatPath(path), message, hint })),
    };
  }
  const specs = specsOf(profile, locks, facts, membership);
  const steps = specs.map((spec) => Step.create({ id: stepIdOf(spec.$case), spec }));
  return { ok: true, steps, probes: (profile.spec.probes ?? []).map(probeOf), revision: revisionOf(profile, locks, membership) };
}

/** In the order of a plan: what something stands on comes before it. */
function specsOf(
  { spec }: NodeProfile,
  locks: readonly ImageLock[],
  facts: Facts | undefined,
  membership: Membership | undefined,
): readonly NonNullable<Step["spec"]>[] {
  const { binaries, kernelModules, sysctl, swap, containerd, images, kubelet, kubeadm } = spec;
  const specs: NonNullable<Step["spec"]>[] = [];
  if (binaries !== undefined) specs.push({ $case: "binaries", value: binariesSpec(binaries) });
  if (kernelModules !== undefined) {
    specs.push({ $case: "kernelModules", value: KernelModulesSpec.create({ names: sortedNames(kernelModules.names) }) });
  }
  if (sysctl !== undefined) specs.push({ $case: "sysctl", value: sysctlSpec(sysctl.values) });
  if (swap?.mode === "Off") specs.push({ $case: "swap", value: SwapSpec.create({ mode: SwapMode.SWAP_MODE_OFF }) });
  if (containerd !== undefined) specs.push({ $case: "containerd", value: containerdSpec(containerd) });
  if (images !== undefined) specs.push({ $case: "images", value: imagesSpec(images, locks) });
  if (kubelet !== undefined) specs.push({ $case: "kubelet", value: kubeletSpec(kubelet) });
  if (membership !== undefined) specs.push({ $case: "kubeadm", value: kubeadmSpec(kubeadm, membership, facts) });
  return specs;
}

/** Content digest, "sha256:<hex>", of what the profile asks for, its locks included; of names, labels and spelling (1Ki or 1024) it is independent. */
export function revisionOf(profile: NodeProfile, locks: readonly ImageLock[], membership?: Membership): string {
  const { sysctl, containerd, images, binaries, kernelModules, swap, kubelet, kubeadm, probes } = profile.spec;
  const isLockKnown = images?.lock === undefined || findLock(images, locks) !== undefined;
  return contentDigest({
    sysctl: sysctl === undefined ? undefined : canonicalSysctls(sysctl.values),
    containerd: containerd === undefined ? undefined : sortedContainerd(containerd),
    images:
      images === undefined
        ? undefined
        : {
            images: imagesOf(images, locks).map(canonicalImage),
            maxParallel: images.maxParallel,
            maxParallelPerRegistry: images.maxParallelPerRegistry,
            minFree: images.minFree === undefined ? undefined : parseBytes(images.minFree),
            missingLock: isLockKnown ? undefined : images.lock,
          },
    binaries: binaries?.map(canonicalBinary),
    kernelModules: kernelModules === undefined ? undefined : sortedNames(kernelModules.names),
    swap: swap?.mode === "Off" ? swap.mode : undefined,
    kubelet,
    kubeadm,
    probes: probes?.map(probeOf),
    membership: membership === undefined ? undefined : membershipContent(membership),
  });
}

/** Content digest of a lock's images, whatever their order. */
export function revisionOfLock(lock: ImageLock): string {
  return contentDigest(lock.spec.images.map(canonicalImage).sort((a, b) => compareText(a.name, b.name)));
}

type BinaryEntry = NonNullable<NodeProfile["spec"]["binaries"]>[number];

function canonicalBinary({ size, ...rest }: BinaryEntry) {
  return { ...rest, ...(size === undefined ? {} : { size: parseBytes(size) }) };
}

function binariesSpec(binaries: readonly BinaryEntry[]): BinariesSpec {
  return BinariesSpec.create({
    binaries: binaries.map((binary) => ({
      name: binary.name,
      source: binary.source,
      digest: binary.digest,
      sizeBytes: binary.size === undefined ? 0 : parseBytes(binary.size),
      files: binary.files.map(({ member, target }) => ({ member: member ?? "", target })),
      restarts: binary.restarts ?? [],
    })),
  });
}

function probeOf({ name, http, tcp, timeout }: NonNullable<NodeProfile["spec"]["probes"]>[number]): Probe {
  const target: Probe["target"] = http === undefined ? tcp && { $case: "tcpPort", value: tcp.port } : { $case: "httpUrl", value: http.url };
  return Probe.create({ name, target, timeoutMs: parseDurationMs(timeout) });
}

function sortedNames(names: readonly string[]): string[] {
  return [...new Set(names)].sort(compareText);
}

function findLock(images: ImagesSection, locks: readonly ImageLock[]): ImageLock | undefined {
  return images.lock === undefined ? undefined : locks.find((lock) => lock.metadata.name === images.lock);
}

function imagesOf(images: ImagesSection, locks: readonly ImageLock[]): readonly LockedImageEntry[] {
  return [...(findLock(images, locks)?.spec.images ?? []), ...(images.images ?? [])].sort((a, b) => compareText(a.name, b.name));
}

function canonicalImage({ name, digest, size, pinned, archive }: LockedImageEntry) {
  return { name, digest, size: parseBytes(size), pinned, archive };
}

function checkLock(images: ImagesSection, locks: readonly ImageLock[]): readonly Finding[] {
  if (images.lock === undefined) return [];
  const lock = findLock(images, locks);
  if (lock === undefined) {
    const hint = "apply it first: drover apply -f";
    return [{ path: ["spec", "images", "lock"], at: "value", message: `names the ImageLock ${images.lock}, which does not exist`, hint }];
  }
  const locked = new Set(lock.spec.images.map(({ name }) => name));
  return (images.images ?? []).flatMap(({ name }, index): Finding[] => {
    if (!locked.has(name)) return [];
    const message = `${name} is in the ImageLock ${images.lock} already`;
    return [{ path: ["spec", "images", "images", index, "name"], at: "value", message, hint: "remove it from one of them" }];
  });
}

/** Older ones have neither certs.d nor the schema that is written. */
const OLDEST_CONTAINERD = [1, 6] as const;

function checkContainerdVersion(facts: Facts | undefined): readonly Finding[] {
  const version = facts?.versions["containerd"];
  const match = version === undefined ? null : /^v?(\d+)\.(\d+)/.exec(version);
  if (match === null) return [];
  const [major, minor] = [Number(match[1]), Number(match[2])];
  if (major > OLDEST_CONTAINERD[0] || (major === OLDEST_CONTAINERD[0] && minor >= OLDEST_CONTAINERD[1])) return [];
  const hint = `install ${OLDEST_CONTAINERD.join(".")} or newer`;
  return [{ path: ["spec", "containerd"], at: "key", message: `cannot be applied to containerd ${version} of ${facts!.hostname}`, hint }];
}

/** Not where the profile brings a kubelet itself: that one is not installed yet. */
function checkKubeletVersion({ spec }: NodeProfile, facts: Facts | undefined): readonly Finding[] {
  const minor = /^v?1\.(\d+)\./.exec(facts?.versions["kubelet"] ?? "")?.[1];
  const isBrought = spec.binaries?.some(({ files }) => files.some(({ target }) => target.endsWith("/kubelet"))) === true;
  if (spec.kubelet?.configuration === undefined || minor === undefined || isBrought) return [];
  return checkKubelet(spec.kubelet.configuration, Number(minor)).map(({ path, message, hint }) => ({
    path: ["spec", "kubelet", "configuration", ...path],
    at: "key",
    message: `${message} (of ${facts!.hostname})`,
    hint,
  }));
}

function canonicalSysctls(values: Readonly<Record<string, string | number>>): Record<string, string> {
  const entries = Object.entries(values).map(([key, value]): [string, string] => [key, canonicalSysctlValue(key, value)]);
  return Object.fromEntries(entries.sort(([a], [b]) => compareText(a, b)));
}

function sysctlSpec(values: Readonly<Record<string, string | number>>): SysctlSpec {
  return SysctlSpec.create({ values: canonicalSysctls(values) });
}

/** Mirrors keep their order: it is the order in which they are tried. */
function sortedContainerd(section: ContainerdSection): ContainerdSection {
  return {
    ...section,
    ...(section.runtimes === undefined ? {} : { runtimes: section.runtimes.toSorted((a, b) => compareText(a.name, b.name)) }),
    ...(section.registries === undefined ? {} : { registries: section.registries.toSorted((a, b) => compareText(a.host, b.host)) }),
  };
}

function containerdSpec(section: ContainerdSection): ContainerdSpec {
  const { registries, runtimes, ...settings } = sortedContainerd(section);
  return ContainerdSpec.create({
    sandboxImage: settings.sandboxImage ?? "",
    systemdCgroup: settings.systemdCgroup,
    rootDir: settings.rootDir ?? "",
    stateDir: settings.stateDir ?? "",
    requiredMount: settings.requiredMount ?? "",
    defaultRuntime: settings.defaultRuntime ?? "",
    maxConcurrentDownloads: settings.maxConcurrentDownloads ?? 0,
    restrictOomScoreAdj: settings.restrictOomScoreAdj,
    registries: (registries ?? []).map(({ host, server, mirrors }) => ({
      host,
      server: server ?? "",
      mirrors: mirrors.map((mirror) => ({
        url: mirror.url,
        capabilities: mirror.capabilities ?? [],
        skipVerify: mirror.skipVerify ?? false,
        caPem: mirror.caPem ?? "",
        overridePath: mirror.overridePath ?? false,
      })),
    })),
    runtimes: (runtimes ?? []).map(({ name, runtimeType, options }) => ({ name, runtimeType, options: tomlOptions(options) })),
  });
}

function tomlOptions(options: Readonly<Record<string, string | number | boolean>>): Record<string, string> {
  const entries = Object.entries(options).map(([key, value]): [string, string] => [key, tomlValue(value)]);
  return Object.fromEntries(entries.sort(([a], [b]) => compareText(a, b)));
}

/** JSON's strings are TOML's, but for DEL and lone surrogates. */
function tomlValue(value: string | number | boolean): string {
  return typeof value === "string" ? JSON.stringify(value.toWellFormed()).replaceAll("\u007f", "\\u007f") : String(value);
}

function imagesSpec(images: ImagesSection, locks: readonly ImageLock[]): ImagesSpec {
  return ImagesSpec.create({
    images: imagesOf(images, locks).map((image) => {
      const { size, archive, ...rest } = canonicalImage(image);
      return { ...rest, sizeBytes: size, archive: archive ?? "" };
    }),
    maxParallel: images.maxParallel ?? 0,
    maxParallelPerRegistry: images.maxParallelPerRegistry ?? 0,
    minFreeBytes: images.minFree === undefined ? 0 : parseBytes(images.minFree),
  });
}
