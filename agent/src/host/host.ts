/**
 * The machine as the agent's core sees it. Steps and reconcile reach files, kernel, units, commands and containerd
 * through these ports only; adapters lie beside this file, recording fakes in fake/.
 */
import type { Containerd } from "./containerd-port.ts";
import type { Downloads } from "./download-port.ts";
import type { Modules } from "./module-port.ts";
import type { Probes } from "./probe-port.ts";
import type { Swaps } from "./swap-port.ts";
import type { TransientUnits } from "./transient-units-port.ts";

export interface Host {
  /** False with `--root DIR`: files are those of an image, and nothing can be run, read from the kernel or asked. */
  readonly isLive: boolean;
  readonly files: Files;
  readonly kernel: Kernel;
  readonly commands: Commands;
  readonly units: Units;
  readonly transientUnits: TransientUnits;
  readonly containerd: Containerd;
  readonly modules: Modules;
  readonly swaps: Swaps;
  readonly probes: Probes;
  /** Works on images too: what is fetched lands under the root. */
  readonly downloads: Downloads;
}

export type FileKind = "file" | "directory" | "symlink" | "other";

export interface FileIdentity {
  readonly kind: FileKind;
  readonly uid: number;
  readonly mode: number;
  readonly sizeBytes: number;
  /** Device, inode, size and times as one word: another one whenever the content may be another. Cheap. */
  readonly version: string;
}

/** Paths are absolute, inside the root; links are never followed out of it, and never followed at the last component. */
export interface Files {
  /** undefined when there is no such file. @throws when it is no regular file or larger than maxBytes (default 4 MiB) */
  read(path: string, maxBytes?: number): Promise<Buffer | undefined>;
  /** Durable: tmp beside it (O_EXCL), write, fsync, rename, fsync of the directory; makes missing directories. */
  write(path: string, content: string | Uint8Array, mode: number): Promise<void>;
  /** Durable; no error when absent. */
  remove(path: string): Promise<void>;
  /** Sorted names; empty when there is no such directory. */
  list(path: string): Promise<readonly string[]>;
  stat(path: string): Promise<{ readonly kind: FileKind; readonly sizeBytes: number; readonly mode: number } | undefined>;
  /** Target of the link at path as it is written; undefined when there is nothing, or no link. */
  readLink(path: string): Promise<string | undefined>;
  /** Durable: made beside it and renamed over what is there, which may be a file or link, no directory; makes missing directories. */
  writeLink(path: string, target: string): Promise<void>;
  /** Durable second name of the same file or link (a hard link), replacing what is at `to`, which must be no directory. @throws ENOENT */
  writeHardLink(from: string, to: string): Promise<void>;
  /** Durable, within one file system; replaces a file or link, never a directory; makes missing directories. @throws ENOENT, EEXIST, EXDEV */
  rename(from: string, to: string): Promise<void>;
  /** "sha256:<hex>" of a regular file, read as a stream; undefined when absent. */
  digest(path: string, signal?: AbortSignal): Promise<string | undefined>;
  /** undefined when absent. */
  identity(path: string): Promise<FileIdentity | undefined>;
  /** A file, link, or directory with all that is in it; no error when absent. Follows no link. @throws EBUSY at another mount */
  removeTree(path: string): Promise<void>;
  /** Makes it and what is missing above it; an existing directory gets the mode. */
  makeDirectory(path: string, mode: number): Promise<void>;
  /** Bytes free for root on the file system that holds path, or its nearest existing parent. */
  freeBytes(path: string): Promise<number>;
}

export interface Kernel {
  /** Of a sysctl key in dot form; undefined when the kernel does not have it. Blanks folded to one space. */
  readSysctl(key: string): Promise<string | undefined>;
  /** @throws with code ENOENT, EACCES, EINVAL as the kernel answers */
  writeSysctl(key: string, value: string): Promise<void>;
  isMountPoint(path: string): Promise<boolean>;
  bootId(): Promise<string>;
  /** Since the boot, suspended time too; no clock's setting moves it. */
  uptimeMs(): Promise<number>;
}

export interface Command {
  /** Absolute path of the program. */
  readonly program: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  /** Written to its standard input. */
  readonly input?: string;
}

export interface CommandResult {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly timedOut: boolean;
  /** Capped at 1 MiB each. */
  readonly stdout: string;
  readonly stderr: string;
}

/** No shell, clean environment, own process group, TERM then KILL of the whole group at the deadline. */
export interface Commands {
  run(command: Command, signal: AbortSignal): Promise<CommandResult>;
  /** The first of these absolute paths that is an executable file. */
  find(paths: readonly string[]): Promise<string | undefined>;
}

/** systemd units, by name with suffix: "containerd.service". */
export interface Units {
  restart(unit: string, signal: AbortSignal): Promise<void>;
  /** No error when it does not run, or there is no such unit. */
  stop(unit: string, signal: AbortSignal): Promise<void>;
  /** Started with each boot; running ones are not touched. */
  enable(unit: string, signal: AbortSignal): Promise<void>;
  /** False when it does not run, or there is no such unit. @throws when systemd gives no answer: that tells nothing of the unit */
  isActive(unit: string, signal: AbortSignal): Promise<boolean>;
  daemonReload(signal: AbortSignal): Promise<void>;
  /** Whether systemd is there to do it. */
  canReboot(signal: AbortSignal): Promise<boolean>;
  /** Resolves when it is begun: everything is stopped, this program too. */
  reboot(signal: AbortSignal): Promise<void>;
}
