/** All that the containerd step looks at, read once. */
import type { ContainerdSpec, RegistryHost } from "@drover/proto";
import { withDeadline } from "@drover/lifecycle";
import { parseToml, type TomlParsing, type TomlTable } from "../../format/toml.ts";
import type { StepContext } from "../step.ts";
import { CANDIDATE_PATH, CONFIG_PATH, effectiveOfPresent, fileVersionOf, type Installation, readInstallation } from "./effective.ts";
import { hostsFilesOf, isRegistryHost, preferredDirectoryOf } from "./hosts-files.ts";
import { type ContainerdMemory, readMemory } from "./memory.ts";

const CRI_DEADLINE_MS = 5_000;
/** Whoever writes the file again and again meanwhile is seen in the middle of it. */
const READS = 3;

export interface ContainerdObserved {
  readonly isLive: boolean;
  readonly installation: Installation;
  readonly isConfigPlain: boolean;
  /** undefined: absent. */
  readonly configText: string | undefined;
  readonly file: TomlParsing;
  /** As containerd itself prints it; where it cannot be asked, as the file says. */
  readonly effective: TomlTable;
  /** Why containerd did not print it. */
  readonly effectiveFailure: string | undefined;
  readonly memory: ContainerdMemory;
  /** Those of the spec and those that are ours, by absolute path; undefined: absent. */
  readonly hostsFiles: ReadonlyMap<string, string | undefined>;
  /** Directories that containerd would read instead of ours. */
  readonly preferredDirectories: readonly string[];
  /** A killed agent left the file behind with which it asked containerd. */
  readonly isCandidateLeft: boolean;
  /** Whether spec.requiredMount is one. */
  readonly isMounted: boolean;
  /** undefined: not a running system. */
  readonly cri: CriAnswer | undefined;
}

export type CriAnswer = { readonly kind: "ready" } | { readonly kind: "notReady" | "silent"; readonly message: string };

export async function observeContainerd(spec: ContainerdSpec, context: StepContext): Promise<ContainerdObserved> {
  const { host } = context;
  // The others are refused; nothing is looked up under their names.
  const registries = spec.registries.filter((registry) => isRegistryHost(registry.host));
  const memory = readMemory(await context.memory.get());
  const config = await observeConfig(context);
  const { program } = config.installation;
  return {
    isLive: host.isLive,
    ...config,
    memory,
    hostsFiles: await readHostsFiles(registries, memory, context),
    preferredDirectories: await readPreferredDirectories(registries, context),
    isCandidateLeft: (await host.files.stat(CANDIDATE_PATH)) !== undefined,
    isMounted: spec.requiredMount !== "" && host.isLive && (await host.kernel.isMountPoint(spec.requiredMount)),
    cri: host.isLive && program !== undefined ? await askCri(context) : undefined,
  };
}

type ConfigObserved = Pick<ContainerdObserved, "installation" | "isConfigPlain" | "configText" | "file" | "effective" | "effectiveFailure">;

/** The file and what containerd makes of it belong together: changed by somebody between the two, they are read again. */
async function observeConfig(context: StepContext, reads = 1): Promise<ConfigObserved> {
  const { host } = context;
  const read = async (): Promise<string | undefined> => (await host.files.read(CONFIG_PATH))?.toString("utf8");
  const isConfigPlain = ["file", undefined].includes((await host.files.stat(CONFIG_PATH))?.kind);
  const configText = isConfigPlain ? await read() : undefined;
  const file = parseToml(configText ?? "");
  const table = file.ok ? file.table : {};
  const installation = await readInstallation(context, configText === undefined ? undefined : fileVersionOf(table));
  const { program, schema } = installation;
  const isStillThere = async (): Promise<boolean> => !isConfigPlain || (await read()) === configText;
  const effective =
    program === undefined || schema === undefined || !file.ok || fileVersionOf(table) > schema.version
      ? ({ ok: true, table } as const)
      : await effectiveOfPresent(configText === undefined ? undefined : table, program, schema, context, isStillThere);
  if (reads < READS && !(await isStillThere())) return observeConfig(context, reads + 1);
  return {
    installation,
    isConfigPlain,
    configText,
    file,
    effective: effective.ok ? effective.table : table,
    effectiveFailure: effective.ok ? undefined : effective.message,
  };
}

async function readHostsFiles(
  registries: readonly RegistryHost[],
  memory: ContainerdMemory,
  context: StepContext,
): Promise<ReadonlyMap<string, string | undefined>> {
  const contents = new Map<string, string | undefined>();
  for (const path of new Set([...hostsFilesOf(registries).keys(), ...Object.keys(memory.files)])) {
    contents.set(path, (await context.host.files.read(path))?.toString("utf8"));
  }
  return contents;
}

async function readPreferredDirectories(registries: readonly RegistryHost[], context: StepContext): Promise<readonly string[]> {
  const found: string[] = [];
  for (const registry of registries) {
    const directory = preferredDirectoryOf(registry.host);
    if (directory !== undefined && (await context.host.files.stat(directory)) !== undefined) found.push(directory);
  }
  return found;
}

async function askCri(context: StepContext): Promise<CriAnswer> {
  try {
    const { isReady, message } = await withDeadline(context.clock, "CRI's answer", CRI_DEADLINE_MS, context.signal, (signal) =>
      context.host.containerd.criStatus(signal),
    );
    return isReady ? { kind: "ready" } : { kind: "notReady", message };
  } catch (error) {
    context.signal.throwIfAborted();
    return { kind: "silent", message: (error as Error).message };
  }
}
