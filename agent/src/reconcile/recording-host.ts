/** The machine as a step sees it whose change is tried: what is there is kept in the try record, durably, before it is first written over. */
import type { Files, Host, Kernel } from "../host/host.ts";
import type { StepKind } from "@drover/proto";
import type { OriginalFile, Trial } from "./try-record.ts";

/** Configuration is small; a larger file is a program, whose name is a link into a directory of its version. */
const MAX_KEPT_BYTES = 2 ** 20;

export function recordingHost(host: Host, trial: Trial, kind: StepKind): Host {
  const isTried = (): boolean => trial.record?.kinds.includes(kind) === true;
  const keep = async (path: string): Promise<void> => {
    if (isTried()) await trial.keepFile(path, () => originalOf(path, host.files));
  };
  return { ...host, files: recordingFiles(host.files, keep), kernel: recordingKernel(host.kernel, trial, isTried) };
}

function recordingFiles(files: Files, keep: (path: string) => Promise<void>): Files {
  return {
    read: (path, maxBytes) => files.read(path, maxBytes),
    list: (path) => files.list(path),
    stat: (path) => files.stat(path),
    readLink: (path) => files.readLink(path),
    digest: (path, signal) => files.digest(path, signal),
    identity: (path) => files.identity(path),
    freeBytes: (path) => files.freeBytes(path),
    makeDirectory: (path, mode) => files.makeDirectory(path, mode),
    removeTree: (path) => files.removeTree(path),
    async write(path, content, mode) {
      await keep(path);
      await files.write(path, content, mode);
    },
    async remove(path) {
      await keep(path);
      await files.remove(path);
    },
    async writeLink(path, target) {
      await keep(path);
      await files.writeLink(path, target);
    },
    async writeHardLink(from, to) {
      await keep(to);
      await files.writeHardLink(from, to);
    },
    async rename(from, to) {
      await keep(from);
      await keep(to);
      await files.rename(from, to);
    },
  };
}

function recordingKernel(kernel: Kernel, trial: Trial, isTried: () => boolean): Kernel {
  return {
    readSysctl: (key) => kernel.readSysctl(key),
    isMountPoint: (path) => kernel.isMountPoint(path),
    bootId: () => kernel.bootId(),
    uptimeMs: () => kernel.uptimeMs(),
    async writeSysctl(key, value) {
      if (isTried()) await trial.keepSysctl(key);
      await kernel.writeSysctl(key, value);
    },
  };
}

async function originalOf(path: string, files: Files): Promise<OriginalFile | undefined> {
  const identity = await files.identity(path);
  if (identity === undefined) return { kind: "absent" };
  const { kind, mode, uid, sizeBytes } = identity;
  if (kind === "symlink") return { kind, target: (await files.readLink(path)) ?? "" };
  if (kind !== "file") throw new Error(`${path} is no file: it cannot be kept for the case that the change is not confirmed`);
  if (sizeBytes > MAX_KEPT_BYTES) return undefined;
  const content = await files.read(path, MAX_KEPT_BYTES);
  return content === undefined ? { kind: "absent" } : { kind, content: content.toString("base64"), mode, uid };
}
