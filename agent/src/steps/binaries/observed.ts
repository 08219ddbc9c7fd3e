/** What is at the targets and in the store. Reads only, and hashes only what may have changed since it was verified. */
import { KEPT_SUFFIX, mayRestart } from "@drover/api";
import type { BinariesSpec, Binary, BinaryFile } from "@drover/proto";
import type { Files } from "../../host/host.ts";
import type { StepContext } from "../step.ts";
import { type BinariesMemory, readBinariesMemory } from "./binaries-memory.ts";
import { isVersion, STORE, storedPath } from "./store.ts";

export interface SeenTarget {
  /** undefined: it is no link. */
  readonly link: string | undefined;
  readonly isThere: boolean;
  readonly isKept: boolean;
}

export interface BinariesObserved {
  readonly isLive: boolean;
  /** Of the spec and of memory. */
  readonly targets: Readonly<Record<string, SeenTarget>>;
  /** Paths in the store whose content is what the spec asks for. */
  readonly stored: readonly string[];
  /** Directories of targets that are not root's own, and why. */
  readonly unsafe: readonly string[];
  /** Without those that no plan restarts: an older agent may have remembered some. */
  readonly activeUnits: readonly string[];
  /** Names of versions in the store. */
  readonly versions: readonly string[];
  readonly memory: BinariesMemory;
  readonly hasMemory: boolean;
}

export async function observeBinaries(spec: BinariesSpec, context: StepContext): Promise<BinariesObserved> {
  const { host, signal } = context;
  const remembered = await context.memory.get();
  const memory = readBinariesMemory(remembered);
  const wanted = spec.binaries.flatMap(({ files }) => files.map(({ target }) => target));
  const targets: Record<string, SeenTarget> = {};
  for (const target of [...wanted, ...Object.keys(memory.targets)]) targets[target] = await seeTarget(target, host.files);
  const stored: string[] = [];
  for (const [binary, file] of filesOf(spec)) if (await isStored(binary, file, memory, context)) stored.push(storedPath(binary, file));
  const unsafe: string[] = [];
  for (const directory of new Set(wanted.map(parentOf))) {
    const why = await whyUnsafe(directory, host.files);
    if (why !== undefined) unsafe.push(why);
  }
  const units = new Set([...spec.binaries, ...Object.values(memory.targets)].flatMap(({ restarts }) => restarts).concat(memory.owed));
  const activeUnits: string[] = [];
  for (const unit of host.isLive ? units : []) {
    if (mayRestart(unit) && (await host.units.isActive(unit, signal))) activeUnits.push(unit);
  }
  const versions = (await host.files.list(STORE)).filter(isVersion);
  return { isLive: host.isLive, targets, stored, unsafe, activeUnits, versions, memory, hasMemory: remembered !== undefined };
}

export function filesOf(spec: BinariesSpec): readonly (readonly [Binary, BinaryFile])[] {
  return spec.binaries.flatMap((binary) => binary.files.map((file) => [binary, file] as const));
}

export async function isStored(binary: Binary, file: BinaryFile, memory: BinariesMemory, context: StepContext): Promise<boolean> {
  const path = storedPath(binary, file);
  const verified = memory.verified[path];
  const expected = file.member === "" ? binary.digest : verified?.digest;
  const { files } = context.host;
  const identity = await files.identity(path);
  if (expected === undefined || identity?.kind !== "file" || identity.mode !== 0o755) return false;
  if (verified?.version === identity.version && verified.digest === expected) return true;
  const known = digestsOf(files);
  const digest = known.get(`${path} ${identity.version}`) ?? (await files.digest(path, context.signal));
  if (digest !== undefined) known.set(`${path} ${identity.version}`, digest);
  return digest === expected;
}

/** What was hashed once in this life, since memory is written by apply only. */
const hashed = new WeakMap<Files, Map<string, string>>();

function digestsOf(files: Files): Map<string, string> {
  const known = hashed.get(files) ?? new Map<string, string>();
  hashed.set(files, known);
  return known;
}

async function seeTarget(target: string, files: Files): Promise<SeenTarget> {
  const isThere = (await files.stat(target)) !== undefined;
  return { link: await files.readLink(target), isThere, isKept: (await files.stat(`${target}${KEPT_SUFFIX}`)) !== undefined };
}

/** What is missing will be made, as root's. */
async function whyUnsafe(directory: string, files: Files): Promise<string | undefined> {
  const parts = directory.split("/").slice(1);
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const path = `/${parts.slice(0, depth).join("/")}`;
    const identity = await files.identity(path);
    if (identity === undefined) return undefined;
    if (identity.kind !== "directory") return `${path} is no directory but a ${identity.kind}`;
    if (identity.uid !== 0) return `${path} belongs to user ${identity.uid}, not to root`;
    if ((identity.mode & 0o002) !== 0) return `${path} may be written by everybody`;
  }
  return undefined;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
