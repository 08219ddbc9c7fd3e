/**
 * containerd's configuration: the operator's config.toml with our keys set in it, certs.d for registries, and a restart that is
 * taken back when CRI does not answer. Which keys are whose is in memory.ts, the restart in change-over.ts.
 */
import { type Change, type ContainerdSpec, Impact } from "@drover/proto";
import {
  formatToml,
  formatTomlPath,
  formatTomlValue,
  isSameToml,
  parseToml,
  type TomlPath,
  type TomlTable,
  type TomlValue,
  valueAt,
} from "../../format/toml.ts";
import { type Step, type StepCondition, type StepContext, StepError } from "../step.ts";
import { candidateOf, changedPaths, restoredText, settablePaths, unrelatedPaths, withOriginals } from "./candidate.ts";
import { changeOver, put, settle } from "./change-over.ts";
import { CANDIDATE_PATH, CONFIG_PATH, effectiveOrRefused, fileVersionOf } from "./effective.ts";
import { hostsFilesOf, summarizeHostsFile } from "./hosts-files.ts";
import { type Attempt, type ContainerdMemory, isStillOurs, type OwnedKey, rememberedOf } from "./memory.ts";
import { type ContainerdObserved, observeContainerd } from "./observed.ts";
import { refuseContainerd } from "./refusals.ts";
import { type ConfigSchema, DEFAULT_RUNTIMES, schemaOfFile } from "./schemas.ts";
import { type Setting, settingsOf } from "./settings.ts";

export const containerdStep: Step<"containerd", ContainerdObserved> = {
  kind: "containerd",
  emptySpec: {
    sandboxImage: "",
    rootDir: "",
    stateDir: "",
    requiredMount: "",
    registries: [],
    runtimes: [],
    defaultRuntime: "",
    maxConcurrentDownloads: 0,
  },
  observe: observeContainerd,
  refuse: refuseContainerd,

  diff(spec, observed) {
    return [...attemptChanges(observed), ...keyChanges(spec, observed), ...hostsChanges(spec, observed)];
  },

  conditions(_spec, observed): readonly StepCondition[] {
    return [conditionOf(observed)];
  },

  async apply(spec, _changes, context) {
    let observed = await observeContainerd(spec, context);
    if (observed.isCandidateLeft) await context.host.files.remove(CANDIDATE_PATH);
    if (observed.memory.attempt !== undefined) {
      await settle(observed.memory, observed.memory.attempt, context);
      observed = await observeContainerd(spec, context);
    }
    const refusal = refuseContainerd(spec, observed);
    if (refusal !== undefined) throw new StepError(refusal.reason, refusal.message, false);
    const target = await targetOf(spec, observed, context);
    await commit(target, observed, context);
  },
};

function attemptChanges({ memory, isCandidateLeft }: ContainerdObserved): readonly Change[] {
  if (memory.attempt === undefined) {
    const note = "left behind when the agent stopped";
    return isCandidateLeft ? [{ path: CANDIDATE_PATH, from: "present", to: "", impact: Impact.IMPACT_LIVE, note }] : [];
  }
  const note = "a change was under way when the agent stopped: it is finished, or taken back when CRI does not answer";
  return [{ path: CONFIG_PATH, from: memory.attempt.phase, to: "settled", impact: Impact.IMPACT_RESTART, note }];
}

function keyChanges(spec: ContainerdSpec, observed: ContainerdObserved): readonly Change[] {
  const settings = settingsFor(spec, observed);
  const set = settings
    .filter(({ path, value }) => !isSameToml(valueAt(observed.effective, path), value))
    .map(({ path, value }) => keyChange(path, valueAt(observed.effective, path), formatForPeople(value), Impact.IMPACT_RESTART, ""));
  const table = observed.file.ok ? observed.file.table : {};
  const asked = new Set([...settings, ...settingsInFile(spec, table, observed)].map(({ path }) => formatTomlPath(path)));
  const left = observed.memory.keys
    .filter((key) => key.isSeed !== true && !asked.has(formatTomlPath(key.path)))
    .map((key) => {
      const present = valueAt(table, key.path);
      if (isStillOurs(key, table)) return keyChange(key.path, present, key.original ?? "", Impact.IMPACT_RESTART, "left the plan");
      const kept = present === undefined ? "" : formatForPeople(present);
      return keyChange(
        key.path,
        present,
        kept,
        Impact.IMPACT_LIVE,
        "left the plan; somebody else has changed it since, so it stays as it is",
      );
    });
  return [...set, ...left];
}

function hostsChanges(spec: ContainerdSpec, observed: ContainerdObserved): readonly Change[] {
  const wanted = hostsFilesOf(spec.registries);
  const set = [...wanted].filter(([path, content]) => observed.hostsFiles.get(path) !== content);
  const left = Object.entries(observed.memory.files).filter(([path]) => !wanted.has(path));
  return [
    ...set.map(([path, content]) => hostsChange(path, observed, content, "")),
    ...left.map(([path, original]) => hostsChange(path, observed, original, "left the plan")),
  ];
}

function hostsChange(path: string, observed: ContainerdObserved, to: string | null, note: string): Change {
  const from = observed.hostsFiles.get(path);
  const summary = (content: string | null | undefined): string => (content == null ? "" : summarizeHostsFile(path, content));
  return { path, from: summary(from), to: summary(to), impact: Impact.IMPACT_LIVE, note };
}

function keyChange(path: TomlPath, from: TomlValue | undefined, to: string, impact: Impact, note: string): Change {
  return { path: formatTomlPath(path), from: from === undefined ? "" : formatForPeople(from), to, impact, note };
}

function conditionOf({ cri, installation, isLive }: ContainerdObserved): StepCondition {
  const type = "Containerd";
  if (!isLive) return { type, status: "Unknown", reason: "NotRunning", message: "this is an image, not a running system" };
  if (cri === undefined)
    return { type, status: "False", reason: "ContainerdNotInstalled", message: "there is no containerd in /usr/local/bin or /usr/bin" };
  switch (cri.kind) {
    case "ready":
      return { type, status: "True", reason: "CriReady", message: `containerd ${installation.version ?? ""} answers CRI` };
    case "notReady":
      return { type, status: "False", reason: "RuntimeNotReady", message: cri.message };
    case "silent":
      return { type, status: "False", reason: "CriNotAnswering", message: cri.message };
  }
}

interface Target {
  readonly configText: string | undefined;
  readonly config: ContainerdMemory["config"];
  readonly keys: readonly OwnedKey[];
  readonly hostsFiles: ReadonlyMap<string, string>;
  readonly isRestartNeeded: boolean;
}

/** @throws StepError ConfigRefused, UnrelatedChange, SettingOverridden: nothing was changed */
async function targetOf(spec: ContainerdSpec, observed: ContainerdObserved, context: StepContext): Promise<Target> {
  const { memory, configText, installation } = observed;
  const { program, schema } = installation;
  const present = observed.file.ok ? observed.file.table : {};
  const stripped = withOriginals(present, memory.keys);
  const settings = settingsFor(spec, observed);
  const hostsFiles = hostsFilesOf(spec.registries);
  if (settings.length === 0 || schema === undefined) {
    const text = memory.keys.length === 0 ? configText : restoredText(configText, stripped, memory.config);
    const isRestartNeeded = await checkCandidate(text, [], memory.keys, observed, context);
    return { configText: text, config: undefined, keys: [], hostsFiles, isRestartNeeded };
  }
  const isInSync = keyChanges(spec, observed).length === 0;
  if (isInSync) return { configText, config: memory.config, keys: memory.keys, hostsFiles, isRestartNeeded: false };
  const baseText = await baseTextOf(stripped, schema, observed, context);
  const base = baseText === undefined ? {} : parsedOwn(baseText);
  const defaults = program === undefined ? withDefaultRuntimes(schema) : await effectiveOrRefused(baseText, program, schema, context);
  const candidate = candidateOf(base, defaults, settings, schema, memory.keys);
  if (hidesSecrets(candidate.text) && !hidesSecrets(configText)) {
    const message = `${CONFIG_PATH} holds secrets that must be carried into other keys, and Drover does not see secrets that programs print`;
    throw new StepError("SecretsInTheWay", `${message}: run \`containerd config migrate\` by hand, nothing was changed`, false);
  }
  const isRestartNeeded = await checkCandidate(candidate.text, settings, [...memory.keys, ...candidate.keys], observed, context);
  return {
    configText: candidate.text,
    config: {
      originalText: memory.config === undefined ? (configText ?? null) : memory.config.originalText,
      baseText: baseText ?? formatToml({ version: BigInt(schema.version) }),
    },
    keys: candidate.keys,
    hostsFiles,
    isRestartNeeded,
  };
}

/** Output of programs comes with secrets taken out; written into the file, the placeholder would be the password. */
function hidesSecrets(text: string | undefined): boolean {
  return text?.includes("[redacted") ?? false;
}

/** The operator's own file in the installed schema; undefined: there is none. */
async function baseTextOf(
  stripped: TomlTable,
  schema: ConfigSchema,
  observed: ContainerdObserved,
  context: StepContext,
): Promise<string | undefined> {
  const { program } = observed.installation;
  const own = restoredText(observed.configText, stripped, observed.memory.config);
  if (own === undefined || fileVersionOf(parsedOwn(own)) >= schema.version) return own;
  if (program === undefined) {
    throw new StepError(
      "ConfigTooOld",
      `${CONFIG_PATH} is of an older schema, and containerd cannot be run here to migrate it: migrate it with \`containerd config migrate\``,
      false,
    );
  }
  context.say(`${CONFIG_PATH} is of version ${fileVersionOf(parsedOwn(own))}: migrating it to ${schema.version}`);
  const { imports: _shownByContainerd, ...migrated } = await effectiveOrRefused(own, program, schema, context);
  // Relative imports come back as they were written, not as they were resolved.
  const imports = valueAt(parsedOwn(own), ["imports"]);
  return formatToml({ version: BigInt(schema.version), ...(imports === undefined ? {} : { imports }), ...migrated });
}

/** @returns whether containerd would behave otherwise with it */
async function checkCandidate(
  text: string | undefined,
  settings: readonly Setting[],
  ours: readonly OwnedKey[],
  observed: ContainerdObserved,
  context: StepContext,
): Promise<boolean> {
  const { program, schema } = observed.installation;
  if (program === undefined || schema === undefined) return false;
  const after = text === observed.configText ? observed.effective : await effectiveOrRefused(text, program, schema, context);
  const changed = changedPaths(observed.effective, after);
  const isMigrating = observed.file.ok && observed.configText !== undefined && fileVersionOf(observed.file.table) < schema.version;
  const paths = [...ours.map((key) => key.path), ...(isMigrating ? settablePaths(schema, observed.effective, ours) : [])];
  const unrelated = unrelatedPaths(changed, paths, observed.effective, after, schema);
  if (unrelated.length > 0) {
    throw new StepError("UnrelatedChange", `the new ${CONFIG_PATH} would also change ${unrelated.join(", ")}: nothing was changed`, false);
  }
  const overridden = settings.filter(({ path, value }) => !isSameToml(valueAt(after, path), value));
  if (overridden.length > 0) {
    const keys = overridden.map(({ path }) => formatTomlPath(path)).join(", ");
    const imports = valueAt(after, ["imports"]);
    const where = Array.isArray(imports) && imports.length > 0 ? `; look into the imported ${imports.join(", ")}` : "";
    throw new StepError("SettingOverridden", `containerd would not take ${keys} from ${CONFIG_PATH}${where}: nothing was changed`, false);
  }
  return changed.some((path) => !isSameToml([...path], ["version"]));
}

async function commit(target: Target, observed: ContainerdObserved, context: StepContext): Promise<void> {
  const { memory } = observed;
  // null is an original too: there was no file.
  const originalOf = (path: string): string | null =>
    memory.files[path] ?? (path in memory.files ? null : (observed.hostsFiles.get(path) ?? null));
  const hostsOriginals = Object.fromEntries([...target.hostsFiles.keys()].map((path) => [path, originalOf(path)]));
  const after: ContainerdMemory = {
    ...(target.config === undefined ? {} : { config: target.config }),
    keys: target.keys,
    files: hostsOriginals,
  };
  const during: ContainerdMemory = {
    ...(memory.config === undefined ? {} : { config: memory.config }),
    ...(target.config === undefined ? {} : { config: target.config }),
    keys: [...target.keys, ...memory.keys.filter((old) => !target.keys.some((key) => isSameToml([...key.path], [...old.path])))],
    files: { ...memory.files, ...hostsOriginals },
  };
  const files = swapsOf(target, observed);
  if (target.isRestartNeeded) return changeOver(files, memory, during, after, context);
  await context.memory.set(rememberedOf(during));
  for (const file of files) await put(file.path, file.after, context);
  await context.memory.set(rememberedOf(after));
}

/** CAs before the hosts.toml that name them, those before config.toml; what is removed goes last, in the opposite order. */
function swapsOf(target: Target, observed: ContainerdObserved): Attempt["files"] {
  const before = (path: string): string | null => observed.hostsFiles.get(path) ?? null;
  const set = [...target.hostsFiles].map(([path, content]) => ({ path, before: before(path), after: content as string | null }));
  const config = { path: CONFIG_PATH, before: observed.configText ?? null, after: target.configText ?? null };
  const left = Object.entries(observed.memory.files)
    .filter(([path]) => !target.hostsFiles.has(path))
    .toReversed()
    .map(([path, original]) => ({ path, before: before(path), after: original }));
  return [...set, config, ...left].filter((file) => file.before !== file.after);
}

function settingsFor(spec: ContainerdSpec, observed: ContainerdObserved): readonly Setting[] {
  const { schema } = observed.installation;
  if (schema === undefined) return [];
  return settingsOf(spec, schema, observed.effective, withOriginals(observed.effective, observed.memory.keys));
}

/** After an upgrade of containerd our keys still lie in the file under the names of the schema before. */
function settingsInFile(spec: ContainerdSpec, table: TomlTable, observed: ContainerdObserved): readonly Setting[] {
  const schema = schemaOfFile(fileVersionOf(table));
  return schema === undefined ? [] : settingsOf(spec, schema, table, withOriginals(table, observed.memory.keys));
}

function withDefaultRuntimes(schema: ConfigSchema): TomlTable {
  return schema.runtimes.reduceRight<TomlTable>((below, key) => ({ [key]: below }), DEFAULT_RUNTIMES);
}

/** @throws Error for text that containerd or we wrote and that does not parse: a bug */
function parsedOwn(text: string): TomlTable {
  const parsing = parseToml(text);
  if (!parsing.ok) throw new Error(`${parsing.line}:${parsing.column}: ${parsing.message}`);
  return parsing.table;
}

function formatForPeople(value: TomlValue): string {
  return typeof value === "string" ? value : formatTomlValue(value);
}
