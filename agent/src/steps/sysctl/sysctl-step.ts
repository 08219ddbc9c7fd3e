/** Kernel parameters: our own file under /etc/sysctl.d, and only the keys of the plan, loaded one by one and read back. */
import { canonicalSysctlValue, checkSysctl, checkSysctls, describeSysctl, NODE_PORTS } from "@drover/api";
import { type Change, Impact, ProgressPhase, type SysctlSpec } from "@drover/proto";
import { type Refusal, type Step, type StepCondition, type StepContext, StepError } from "../step.ts";
import { type Originals, readOriginals, rememberedOriginals } from "./originals.ts";
import { type Shadow, shadowsOf, sourcesAfterOurs, SYSCTL_CONF, SYSCTL_DIRECTORIES, type SysctlSource } from "./shadows.ts";
import { foldBlanks, formatSysctlFile, OWN_FILE, parseSysctlFile } from "./sysctl-file.ts";

export interface SysctlObserved {
  readonly isLive: boolean;
  /** undefined: absent. */
  readonly ownFile: string | undefined;
  /** Every key of the spec and of originals; undefined: the kernel does not have it, or this is no running system. */
  readonly kernel: Readonly<Record<string, string | undefined>>;
  readonly originals: Originals;
  /** Files of others that are read after ours. */
  readonly sources: readonly SysctlSource[];
}

const UNKNOWN_KEY_NOTE = "the kernel has no such key: is its module loaded?";

export const sysctlStep: Step<"sysctl", SysctlObserved> = {
  kind: "sysctl",
  emptySpec: { values: {} },

  async observe(spec, context) {
    const { host } = context;
    const originals = readOriginals(await context.memory.get());
    const kernel: Record<string, string | undefined> = {};
    if (host.isLive) {
      for (const key of new Set([...Object.keys(spec.values), ...Object.keys(originals)])) kernel[key] = await host.kernel.readSysctl(key);
    }
    const ownFile = (await host.files.read(OWN_FILE))?.toString("utf8");
    return { isLive: host.isLive, ownFile, kernel, originals, sources: sourcesAfterOurs(await readSources(context)) };
  },

  refuse(spec): Refusal | undefined {
    const [first, ...others] = checkSysctls(spec.values);
    if (first === undefined) return undefined;
    return { reason: reasonOf(first.key, spec), message: [first, ...others].map(({ key, message }) => `${key} ${message}`).join("; ") };
  },

  diff(spec, observed) {
    return [...fileChanges(spec, observed), ...(observed.isLive ? kernelChanges(spec, observed) : [])];
  },

  conditions(spec, observed): readonly StepCondition[] {
    const winning = shadowsOf(spec.values, observed.sources).filter((shadow) => !shadow.isGlob);
    if (winning.length === 0) {
      return [{ type: "SysctlShadowed", status: "False", reason: "NotShadowed", message: "no other file sets these keys after ours" }];
    }
    return [{ type: "SysctlShadowed", status: "True", reason: "OtherFileWins", message: winning.map(describeShadow).join("; ") }];
  },

  async apply(spec, _changes, context) {
    const observed = await sysctlStep.observe(spec, context);
    const desired = foldedValues(spec);
    if (observed.isLive) await rememberFirst(desired, observed, context);
    await writeOwnFile(desired, observed, context);
    if (!observed.isLive) return;
    const failures = [...(await loadValues(desired, observed, context)), ...(await restoreLeft(desired, observed, context))];
    const [first] = failures;
    if (first === undefined) return;
    throw new StepError(first.reason, failures.map((failure) => failure.message).join("; "), first.isRetryable);
  },
};

function reasonOf(key: string, spec: SysctlSpec): string {
  const value = spec.values[key] ?? "";
  if (describeSysctl(key) === undefined) return "SysctlDenied";
  if (checkSysctl(key, value) !== undefined) return "SysctlOutOfRange";
  if (key !== "net.ipv4.ip_local_port_range") return "SysctlConflict";
  const [first = 0, last = 0] = foldBlanks(value).split(" ").map(Number);
  return first <= NODE_PORTS.last && last >= NODE_PORTS.first ? "PortRangeOverlap" : "SysctlOutOfRange";
}

function fileChanges(spec: SysctlSpec, observed: SysctlObserved): readonly Change[] {
  const desired = foldedValues(spec);
  const wanted = fileFor(desired);
  if (wanted === observed.ownFile) return [];
  return [
    {
      path: OWN_FILE,
      from: observed.ownFile === undefined ? "" : countKeys(parseSysctlFile(observed.ownFile).length),
      to: wanted === undefined ? "" : countKeys(Object.keys(desired).length),
      impact: Impact.IMPACT_LIVE,
      note: "",
    },
  ];
}

function kernelChanges(spec: SysctlSpec, observed: SysctlObserved): readonly Change[] {
  const desired = foldedValues(spec);
  const shadows = shadowsOf(desired, observed.sources);
  const set = Object.entries(desired)
    .filter(([key, value]) => observed.kernel[key] !== value)
    .map(([key, value]) => {
      const from = observed.kernel[key];
      const shadow = shadows.find((each) => each.key === key);
      const note = from === undefined ? UNKNOWN_KEY_NOTE : shadow === undefined ? "" : describeShadow(shadow);
      return { path: key, from: from ?? "", to: value, impact: Impact.IMPACT_LIVE, note };
    });
  const restored = leftKeys(desired, observed.originals).map(([key, original]) => ({
    path: key,
    from: observed.kernel[key] ?? "",
    to: original,
    impact: Impact.IMPACT_LIVE,
    note: "left the plan: gets back the value it had before",
  }));
  return [...set, ...restored].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Originals are durable before the first write, or a crash would make our own value the original. */
async function rememberFirst(desired: Originals, observed: SysctlObserved, context: StepContext): Promise<void> {
  const added = Object.keys(desired).flatMap((key) => {
    const value = observed.kernel[key];
    return value === undefined || Object.hasOwn(observed.originals, key) ? [] : [[key, value] as const];
  });
  if (added.length > 0) await context.memory.set(rememberedOriginals({ ...observed.originals, ...Object.fromEntries(added) }));
}

async function writeOwnFile(desired: Originals, observed: SysctlObserved, context: StepContext): Promise<void> {
  const wanted = fileFor(desired);
  if (wanted === observed.ownFile) return;
  if (wanted === undefined) await context.host.files.remove(OWN_FILE);
  else await context.host.files.write(OWN_FILE, wanted, 0o644);
  context.say(wanted === undefined ? `removed ${OWN_FILE}` : `wrote ${OWN_FILE}`);
}

interface Failure {
  readonly reason: "SysctlUnknownKey" | "SysctlClamped" | "SysctlRejected" | "SysctlReadOnly";
  readonly message: string;
  readonly isRetryable: boolean;
}

async function loadValues(desired: Originals, observed: SysctlObserved, context: StepContext): Promise<readonly Failure[]> {
  const differing = Object.entries(desired).filter(([key, value]) => observed.kernel[key] !== value);
  const first = await setAll(differing, context);
  // Some keys bound each other: what the kernel refused may go once its neighbour is set.
  const refused = new Set(first.filter(({ failure }) => failure.reason === "SysctlRejected").map(({ key }) => key));
  if (refused.size === 0 || refused.size === differing.length) return first.map(({ failure }) => failure);
  const second = await setAll(
    differing.filter(([key]) => refused.has(key)),
    context,
  );
  return [...first.filter(({ key }) => !refused.has(key)), ...second].map(({ failure }) => failure);
}

async function setAll(
  values: readonly (readonly [string, string])[],
  context: StepContext,
): Promise<readonly { readonly key: string; readonly failure: Failure }[]> {
  const failures: { key: string; failure: Failure }[] = [];
  for (const [key, value] of values) {
    context.signal.throwIfAborted();
    const failure = await setOne(key, value, context);
    if (failure !== undefined) failures.push({ key, failure });
  }
  return failures;
}

async function setOne(key: string, value: string, context: StepContext): Promise<Failure | undefined> {
  const { kernel } = context.host;
  const unknown: Failure = { reason: "SysctlUnknownKey", message: `${key}: ${UNKNOWN_KEY_NOTE}`, isRetryable: true };
  const before = await kernel.readSysctl(key);
  if (before === undefined) return unknown;
  try {
    await kernel.writeSysctl(key, value);
  } catch (error) {
    switch ((error as { code?: unknown }).code) {
      case "ENOENT":
        return unknown;
      case "EINVAL":
      case "ERANGE":
        return {
          reason: "SysctlRejected",
          message: `${key}: the kernel refuses the value ${value}; it keeps ${before}`,
          isRetryable: false,
        };
      case "EACCES":
      case "EPERM":
      case "EROFS":
        return { reason: "SysctlReadOnly", message: `${key}: may not be written on this machine; it keeps ${before}`, isRetryable: false };
      default:
        throw error;
    }
  }
  const after = await kernel.readSysctl(key);
  context.say(`${key}: ${before} -> ${after ?? "gone"}`);
  const isTaken = after !== undefined && foldBlanks(after) === value;
  const phase = isTaken ? ProgressPhase.PROGRESS_PHASE_DONE : ProgressPhase.PROGRESS_PHASE_FAILED;
  context.progress({ item: key, phase, doneBytes: 0, totalBytes: 0, message: `${before} -> ${after ?? "gone"}` });
  if (after === undefined) return unknown;
  if (isTaken) return undefined;
  return { reason: "SysctlClamped", message: `${key}: wrote ${value}, the kernel made it ${after}`, isRetryable: false };
}

/** A key is forgotten only after its original is back; what the kernel no longer has needs nothing back. */
async function restoreLeft(desired: Originals, observed: SysctlObserved, context: StepContext): Promise<readonly Failure[]> {
  const left = leftKeys(desired, observed.originals);
  if (left.length === 0) return [];
  const failures = await setAll(
    left.filter(([key, original]) => observed.kernel[key] !== undefined && observed.kernel[key] !== original),
    context,
  );
  const kept = new Set(failures.map(({ key }) => key));
  const remembered = readOriginals(await context.memory.get());
  const forgotten = new Set(left.map(([key]) => key).filter((key) => !kept.has(key)));
  await context.memory.set(rememberedOriginals(Object.fromEntries(Object.entries(remembered).filter(([key]) => !forgotten.has(key)))));
  return failures.map(({ failure }) => failure);
}

async function readSources(context: StepContext): Promise<readonly SysctlSource[]> {
  const { files } = context.host;
  const paths: string[] = [];
  for (const directory of SYSCTL_DIRECTORIES) {
    // A directory that is a link (/lib on a merged /usr) is listed under its own name.
    if (await isPlainDirectory(directory, context)) paths.push(...(await files.list(directory)).map((name) => `${directory}/${name}`));
  }
  const sources: SysctlSource[] = [];
  for (const path of [...paths, SYSCTL_CONF]) {
    const stat = await files.stat(path);
    if (stat === undefined || path === OWN_FILE) continue;
    sources.push({ path, text: stat.kind === "file" ? (await files.read(path))?.toString("utf8") : undefined });
  }
  return sources;
}

async function isPlainDirectory(path: string, context: StepContext): Promise<boolean> {
  const parts = path.split("/").slice(1);
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const stat = await context.host.files.stat(`/${parts.slice(0, depth).join("/")}`);
    if (stat?.kind !== "directory") return false;
  }
  return true;
}

function foldedValues(spec: SysctlSpec): Originals {
  return Object.fromEntries(Object.entries(spec.values).map(([key, value]) => [key, canonicalSysctlValue(key, value)]));
}

function fileFor(desired: Originals): string | undefined {
  return Object.keys(desired).length === 0 ? undefined : formatSysctlFile(desired);
}

function leftKeys(desired: Originals, originals: Originals): readonly (readonly [string, string])[] {
  return Object.entries(originals).filter(([key]) => !Object.hasOwn(desired, key));
}

function countKeys(count: number): string {
  return count === 1 ? "1 key" : `${count} keys`;
}

function describeShadow(shadow: Shadow): string {
  const how = shadow.isGlob ? "may be set again by a pattern in" : "is set again by";
  return `${shadow.key} ${how} ${shadow.path}:${shadow.lineNumber} to ${shadow.value}`;
}
