/** containerd's own word on its version and on what a configuration file amounts to. Nothing running is touched. */
import { formatToml, isSameToml, parseToml, type TomlTable, type TomlValue } from "../../format/toml.ts";
import type { Commands } from "../../host/host.ts";
import { type StepContext, StepError } from "../step.ts";
import { type ConfigSchema, schemaOf, schemaOfFile, versionOfOutput, versionOfPackages } from "./schemas.ts";

export const CONFIG_PATH = "/etc/containerd/config.toml";
/** Beside the file, so that relative imports mean the same; not *.toml, so that no import takes it in. */
export const CANDIDATE_PATH = `${CONFIG_PATH}.drover-candidate`;
const PROGRAM_PATHS = ["/usr/local/bin/containerd", "/usr/bin/containerd"];
const PACKAGES_PATH = "/var/lib/dpkg/status";
const MAX_PACKAGES_BYTES = 32 * 2 ** 20;
const TIMEOUT_MS = 20_000;

export interface Installation {
  /** undefined: nothing can be run here, or it is not installed. */
  readonly program: string | undefined;
  readonly version: string | undefined;
  readonly schema: ConfigSchema | undefined;
}

export async function readInstallation(context: StepContext, fileVersion: number | undefined): Promise<Installation> {
  const { host } = context;
  if (!host.isLive) {
    const packages = await host.files.read(PACKAGES_PATH, MAX_PACKAGES_BYTES);
    const version = packages === undefined ? undefined : versionOfPackages(packages.toString("utf8"));
    const schema = version === undefined ? schemaOfFile(fileVersion ?? 0) : schemaOf(version);
    return { program: undefined, version, schema };
  }
  const program = await host.commands.find(PROGRAM_PATHS);
  if (program === undefined) return { program, version: undefined, schema: undefined };
  const version = await recalled(
    context,
    program,
    "--version",
    (known: string | undefined) => known !== undefined,
    async () => {
      const result = await host.commands.run({ program, args: ["--version"], timeoutMs: TIMEOUT_MS }, context.signal);
      return result.exitCode === 0 ? versionOfOutput(result.stdout) : undefined;
    },
  );
  return { program, version, schema: version === undefined ? undefined : schemaOf(version) };
}

export type EffectiveConfig = { readonly ok: true; readonly table: TomlTable } | { readonly ok: false; readonly message: string };

/**
 * What the file at CONFIG_PATH amounts to; its version tells whether it must be migrated to be comparable.
 * @param isStillThere whether the file is what it was: containerd reads it later than we did, and its answer belongs to what it has read
 */
export function effectiveOfPresent(
  file: TomlTable | undefined,
  program: string,
  schema: ConfigSchema,
  context: StepContext,
  isStillThere: () => Promise<boolean>,
): Promise<EffectiveConfig> {
  return file === undefined
    ? printed(program, ["config", "default"], "", context)
    : effectiveOfFile(CONFIG_PATH, file, program, schema, context, isStillThere);
}

/** The same for text that is in no file yet. */
async function effectiveOfText(
  text: string | undefined,
  program: string,
  schema: ConfigSchema,
  context: StepContext,
): Promise<EffectiveConfig> {
  if (text === undefined) return printed(program, ["config", "default"], "", context);
  const parsing = parseToml(text);
  if (!parsing.ok) return { ok: false, message: parsing.message };
  await context.host.files.write(CANDIDATE_PATH, text, 0o600);
  try {
    return await effectiveOfFile(CANDIDATE_PATH, parsing.table, program, schema, context);
  } finally {
    await context.host.files.remove(CANDIDATE_PATH);
  }
}

/** @throws StepError ConfigRefused */
export async function effectiveOrRefused(
  text: string | undefined,
  program: string,
  schema: ConfigSchema,
  context: StepContext,
): Promise<TomlTable> {
  const effective = await effectiveOfText(text, program, schema, context);
  if (effective.ok) return effective.table;
  throw new StepError(
    "ConfigRefused",
    `containerd refuses the configuration that would be written, nothing was changed: ${effective.message}`,
    false,
  );
}

/** 1 where the file says nothing, as containerd reads it. */
export function fileVersionOf(file: TomlTable): number {
  const version = file["version"];
  return typeof version === "bigint" ? Number(version) : 1;
}

async function effectiveOfFile(
  path: string,
  file: TomlTable,
  program: string,
  schema: ConfigSchema,
  context: StepContext,
  isStillThere?: () => Promise<boolean>,
): Promise<EffectiveConfig> {
  // 2.x prints plugins of an older schema under their old names unless told to migrate.
  const verb = fileVersionOf(file) < schema.version ? schema.migration : "dump";
  return printed(program, ["--config", path, "config", verb], path, context, file, isStillThere);
}

function printed(
  program: string,
  args: readonly string[],
  ownPath: string,
  context: StepContext,
  file: TomlTable = {},
  isStillThere: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<EffectiveConfig> {
  // What is imported may change without the file, and what matches no pattern yet may do so later.
  const isAlone = !("imports" in file);
  const isLasting = async (config: EffectiveConfig): Promise<boolean> =>
    isAlone && config.ok && isSameToml(config.table["imports"] ?? [], []) && (await isStillThere());
  return recalled(context, program, JSON.stringify([args, formatToml(file)]), isLasting, () => print(program, args, ownPath, context));
}

async function print(program: string, args: readonly string[], ownPath: string, context: StepContext): Promise<EffectiveConfig> {
  const result = await context.host.commands.run({ program, args, timeoutMs: TIMEOUT_MS }, context.signal);
  const command = `${program} ${args.join(" ")}`;
  if (result.timedOut) return { ok: false, message: `${command} took longer than ${TIMEOUT_MS / 1000} s` };
  if (result.exitCode !== 0) return { ok: false, message: `${command}: ${lastLine(result.stderr)}` };
  const parsing = parseToml(result.stdout);
  if (!parsing.ok) return { ok: false, message: `${command} printed no TOML at ${parsing.line}:${parsing.column}: ${parsing.message}` };
  return { ok: true, table: withoutOwnImport(parsing.table, ownPath) };
}

/** Answers that stay true, by host: a drift scan of a node in sync starts no program. Few, for a file changes seldom. */
const answersByHost = new WeakMap<Commands, Map<string, unknown>>();
const MAX_ANSWERS = 4;

/** @param question with the program, all that the answer depends on */
async function recalled<T>(
  { host }: StepContext,
  program: string,
  question: string,
  isLasting: (answer: T) => boolean | Promise<boolean>,
  ask: () => Promise<T>,
): Promise<T> {
  const stat = await host.files.stat(program);
  // Another version is another size; of a link nothing is known by its own.
  if (stat?.kind !== "file") return ask();
  const key = `${program} ${stat.sizeBytes} ${question}`;
  const answers = answersByHost.get(host.commands) ?? new Map<string, unknown>();
  if (answers.has(key)) return answers.get(key) as T;
  const answer = await ask();
  if (await isLasting(answer)) answersByHost.set(host.commands, answers.set(key, answer));
  for (const oldest of [...answers.keys()].slice(0, -MAX_ANSWERS)) answers.delete(oldest);
  return answer;
}

/** 1.x lists the file itself among its imports. */
function withoutOwnImport(table: TomlTable, ownPath: string): TomlTable {
  const imports = table["imports"];
  if (!Array.isArray(imports)) return table;
  const others = (imports as readonly TomlValue[]).filter((path) => path !== ownPath);
  return isSameToml(imports, others) ? table : { ...table, imports: others };
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
