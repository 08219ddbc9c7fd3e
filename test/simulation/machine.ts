/** One machine: the agent's own recording fake with containerd on it, and the view of it that one life of the agent has. */
import type { Random } from "@drover/lifecycle";
import { Facts } from "@drover/proto";
import { FAKE_CONTAINERD_PATH, fakeContainerdProgram, type FakeHost, fakeHost } from "../../agent/src/fake/index.ts";
import type { Host } from "@drover/agent";
import type { Life } from "./life.ts";
import type { Observe } from "./observations.ts";
import { imageCatalog, kernelDefaults, RUNTIME_UNIT } from "./scenario.ts";

const CONTAINERD_VERSION = "1.7.20";
const PIN_LABEL = "io.cri-containerd.pinned";
const PULL_BYTES_PER_MS = 50_000;

export function makeMachine(bootId: string): FakeHost {
  const host = fakeHost({
    bootId,
    files: { [FAKE_CONTAINERD_PATH]: { content: CONTAINERD_VERSION, mode: 0o755 } },
    sysctls: kernelDefaults,
    activeUnits: [RUNTIME_UNIT],
    onRestart: (unit, restarted) => {
      if (unit === RUNTIME_UNIT) restarted.containerd.breakCri(undefined);
    },
    containerd: {
      version: CONTAINERD_VERSION,
      registry: Object.fromEntries(imageCatalog.map(({ name, digest, size }) => [`${name.replace(/:[^:]+$/, "")}@${digest}`, size])),
    },
  });
  host.commands.install(FAKE_CONTAINERD_PATH, fakeContainerdProgram(host.files, CONTAINERD_VERSION));
  return host;
}

/** Effects take time, are observed, and are lost when the agent is killed before they happen. */
export function viewOf(
  machine: FakeHost,
  parts: { readonly node: string; readonly life: Life; readonly random: Random; readonly observe: Observe },
): Host {
  const { node, life, random, observe } = parts;
  const effect = <T>(ms: number, kind: string, target: string, value: string, work: () => Promise<T>): Promise<T> =>
    life.later(ms * (0.5 + random.unit()), () => {
      // Seen before it happens: whoever judges it must find its reasons durable already.
      observe({ type: "effect", node, kind, target, value });
      machine.effects.clear();
      return work();
    });
  const { files, kernel, commands, units, transientUnits, containerd, modules, swaps, downloads, probes } = machine;
  return {
    isLive: machine.isLive,
    files: {
      read: (path, maxBytes) => files.read(path, maxBytes),
      list: (path) => files.list(path),
      stat: (path) => files.stat(path),
      freeBytes: (path) => files.freeBytes(path),
      write: (path, content, mode) => effect(4, "files.write", path, "", () => files.write(path, content, mode)),
      remove: (path) => effect(4, "files.remove", path, "", () => files.remove(path)),
      readLink: (path) => files.readLink(path),
      digest: (path) => files.digest(path),
      identity: (path) => files.identity(path),
      writeLink: (path, target) => effect(4, "files.writeLink", path, target, () => files.writeLink(path, target)),
      writeHardLink: (from, to) => effect(4, "files.writeHardLink", to, from, () => files.writeHardLink(from, to)),
      rename: (from, to) => effect(4, "files.rename", to, from, () => files.rename(from, to)),
      makeDirectory: (path, mode) => effect(1, "files.makeDirectory", path, "", () => files.makeDirectory(path, mode)),
      removeTree: (path) => effect(4, "files.removeTree", path, "", () => files.removeTree(path)),
    },
    kernel: {
      readSysctl: (key) => kernel.readSysctl(key),
      writeSysctl: (key, value) => effect(1, "kernel.writeSysctl", key, value, () => kernel.writeSysctl(key, value)),
      isMountPoint: (path) => kernel.isMountPoint(path),
      bootId: () => kernel.bootId(),
      uptimeMs: () => kernel.uptimeMs(),
    },
    commands: {
      run: (command, signal) => life.later(40 * (0.5 + random.unit()), () => commands.run(command, signal)),
      find: (paths) => commands.find(paths),
    },
    units: {
      restart: (unit, signal) => effect(900, "units.restart", unit, "", () => units.restart(unit, signal)),
      stop: (unit, signal) => effect(300, "units.stop", unit, "", () => units.stop(unit, signal)),
      enable: (unit, signal) => effect(20, "units.enable", unit, "", () => units.enable(unit, signal)),
      isActive: (unit, signal) => units.isActive(unit, signal),
      daemonReload: (signal) => units.daemonReload(signal),
      canReboot: (signal) => units.canReboot(signal),
      reboot: (signal) => effect(100, "units.reboot", "", "", () => units.reboot(signal)),
    },
    transientUnits: {
      start: (order, signal) => effect(50, "transientUnits.start", order.unit, "", () => transientUnits.start(order, signal)),
      status: (unit, signal) => transientUnits.status(unit, signal),
      collect: (unit, signal) => effect(20, "transientUnits.collect", unit, "", () => transientUnits.collect(unit, signal)),
    },
    containerd: {
      version: (signal) => containerd.version(signal),
      criStatus: (signal) => containerd.criStatus(signal),
      storagePath: (signal) => containerd.storagePath(signal),
      listImages: (signal) => containerd.listImages(signal),
      listCriImages: (signal) => containerd.listCriImages(signal),
      listSandboxes: (signal) => containerd.listSandboxes(signal),
      removeSandbox: (id, signal) => effect(50, "containerd.removeSandbox", id, "", () => containerd.removeSandbox(id, signal)),
      findComplete: (digests, signal) => containerd.findComplete(digests, signal),
      dropDamaged: (digests, onProgress, signal) =>
        effect(100, "containerd.dropDamaged", digests.join(" "), "", () => containerd.dropDamaged(digests, onProgress, signal)),
      pull: (reference, onProgress, signal) => {
        const size = imageCatalog.find(({ digest }) => reference.endsWith(digest))?.size ?? 0;
        return effect(size / PULL_BYTES_PER_MS, "containerd.pull", reference, "", () => containerd.pull(reference, onProgress, signal));
      },
      importArchive: (path, image, onProgress, signal) =>
        effect(500, "containerd.importArchive", path, image.digest, () => containerd.importArchive(path, image, onProgress, signal)),
      putImage: (name, digest, labels, signal) =>
        effect(2, "containerd.putImage", name, PIN_LABEL in labels && labels[PIN_LABEL] === undefined ? `${digest} unpinned` : digest, () =>
          containerd.putImage(name, digest, labels, signal),
        ),
      close: () => containerd.close(),
    },
    modules: {
      presence: (name, signal) => modules.presence(name, signal),
      load: (name, signal) => effect(50, "modules.load", name, "", () => modules.load(name, signal)),
    },
    swaps: {
      list: () => swaps.list(),
      availableBytes: () => swaps.availableBytes(),
      off: (path, signal) => effect(500, "swaps.off", path, "", () => swaps.off(path, signal)),
      on: (path, priority, signal) => effect(20, "swaps.on", path, "", () => swaps.on(path, priority, signal)),
    },
    probes,
    downloads: {
      fetch: (download, path, onProgress, signal) =>
        effect(500, "downloads.fetch", path, download.digest, () => downloads.fetch(download, path, onProgress, signal)),
      extract: (archive, members, signal) =>
        effect(100, "downloads.extract", archive, "", () => downloads.extract(archive, members, signal)),
    },
  };
}

/** @param name "node-0017" */
export function addressOf(name: string): string {
  const index = Number(name.slice(name.lastIndexOf("-") + 1));
  return `10.1.${Math.floor(index / 250)}.${(index % 250) + 1}`;
}

export function factsOf(name: string, bootId: string): Facts {
  return Facts.fromPartial({
    hostname: name,
    bootId,
    architecture: "x86_64",
    kernel: "6.1.0",
    os: "debian",
    osVersion: "12",
    cpus: 4,
    memoryBytes: 8 * 2 ** 30,
    versions: { containerd: CONTAINERD_VERSION },
    machineKind: "vm",
    nics: [{ name: "eth0", addresses: [addressOf(name)] }],
  });
}
