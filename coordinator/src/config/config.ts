/** The coordinator's configuration: read once, with all that is wrong with it at once, then frozen and handed on in slices. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { didYouMean, formatPath, type Problem, readYaml, type SourceDocument } from "@drover/api";
import type { z } from "zod";
import { configSchema, type ListenAddress, type WrittenConfig } from "./schema.ts";

export interface Config {
  readonly dataDir: string;
  readonly listen: { readonly session: ListenAddress; readonly enrolment: ListenAddress; readonly metrics: ListenAddress };
  /** SANs of the server certificate; agents are told the first. */
  readonly advertisedHosts: readonly string[];
  readonly nats: NatsConfig;
  /** undefined: in the data directory. */
  readonly secretKeyFile: string | undefined;
  readonly reportLog: { readonly maxAgeMs: number; readonly maxBytes: number };
  readonly heartbeats: { readonly shortestIntervalMs: number; readonly perSecond: number };
  readonly log: { readonly level: "debug" | "info" | "warn" | "error" };
  readonly limits: {
    readonly streamsPerConnection: number;
    readonly connectionAgeMs: number;
    readonly connections: number;
    readonly operatorConnections: number;
    readonly handshakes: number;
    readonly handshakeMs: number;
    readonly auditRecords: number;
    readonly storeHistory: number;
  };
}

export type NatsConfig =
  | { readonly kind: "embedded"; readonly port: number; readonly program: string | undefined }
  | {
      readonly kind: "outside";
      readonly urls: readonly string[];
      readonly accountId: string;
      readonly accountSigningKeyFile: string;
      readonly systemUserCredsFile: string;
      readonly caFile: string;
      readonly operatorSigningKeyFile?: string | undefined;
    };

export type ConfigLoading = { readonly ok: true; readonly config: Config } | { readonly ok: false; readonly problems: readonly Problem[] };

/** What may be said elsewhere than in the file. A flag counts more than the environment, both more than the file. */
export interface Overrides {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** As on the command line, without the dashes: "data-dir", "log-level". */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

/** What can be overridden: DROVER_DATA_DIR and --data-dir. Lists are written with commas. */
export const overridable = {
  "data-dir": ["dataDir"],
  "listen-session": ["listen", "session"],
  "listen-enrolment": ["listen", "enrolment"],
  "listen-metrics": ["listen", "metrics"],
  "advertise-hosts": ["advertise", "hosts"],
  "log-level": ["log", "level"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

const LISTS: ReadonlySet<string> = new Set(["advertise-hosts"]);

/** @param path of coordinator.yaml; undefined: defaults and overrides alone */
export function loadConfig(path: string | undefined, overrides: Overrides = {}): ConfigLoading {
  const source = path === undefined ? undefined : readSource(path);
  if (source?.ok === false) return source;
  const document = source?.document;
  if (document !== undefined && !isMapping(document.value)) {
    return failed([problemAt(path!, document, [], "value", "must be a mapping of settings", "")]);
  }
  const raw = structuredClone((document?.value ?? {}) as Record<string, unknown>);
  const origins = applyOverrides(raw, overrides);
  const parsed = configSchema.safeParse(raw);
  const placed = (at: readonly PropertyKey[], where: "key" | "value", message: string, hint: string): Problem => {
    const parts = at.map((part) => (typeof part === "symbol" ? String(part) : part));
    const origin = origins.get(parts.slice(0, 2).join(".")) ?? origins.get(String(parts[0]));
    if (origin !== undefined) return { file: origin, line: 0, column: 0, path: formatPath(parts), message, hint };
    return problemAt(path ?? "defaults", document, parts, where, message, hint);
  };
  if (!parsed.success) return failed(parsed.error.issues.flatMap((issue) => problemsOf(issue, raw, placed)));
  const clashes = portClashes(parsed.data).map(({ at, message }) => placed(at, "value", message, "give each its own port"));
  return clashes.length > 0 ? failed(clashes) : { ok: true, config: deepFreeze(configOf(parsed.data)) };
}

type Placed = (at: readonly PropertyKey[], where: "key" | "value", message: string, hint: string) => Problem;

function problemsOf(issue: z.core.$ZodIssue, raw: unknown, placed: Placed): Problem[] {
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(issue.path);
    return issue.keys.map((key) =>
      placed([...issue.path, key], "key", "is not known here", didYouMean(key, known, `known are ${known.join(", ")}`)),
    );
  }
  const isMissing = issue.code === "invalid_type" && valueAt(raw, issue.path) === undefined;
  if (isMissing) return [placed(issue.path, "key", "is required", "")];
  const isOwnMessage = issue.message.startsWith("must ");
  const message = isOwnMessage || issue.code !== "invalid_type" ? issue.message : `must be ${article(issue.expected)}`;
  return [placed(issue.path, "value", message, "")];
}

/** The keys that the schema has where a wrong one was written. */
function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let schema: unknown = configSchema;
  for (const part of path) schema = unwrapped(schema)?.[part as string];
  return Object.keys(unwrapped(schema) ?? {});
}

function unwrapped(schema: unknown): Record<string, unknown> | undefined {
  let inner = schema as { shape?: Record<string, unknown>; def?: { innerType?: unknown } } | undefined;
  while (inner !== undefined && inner.shape === undefined) inner = inner.def?.innerType as typeof inner;
  return inner?.shape;
}

type SourceOf =
  | { readonly ok: true; readonly document: SourceDocument | undefined }
  | { readonly ok: false; readonly problems: readonly Problem[] };

function readSource(path: string): SourceOf {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const hint = "name the file with --config, or leave it out for defaults";
    return failed([{ file: path, line: 0, column: 0, path: "", message: `cannot be read: ${(error as Error).message}`, hint }]);
  }
  const reading = readYaml(text);
  if (!reading.ok) return failed(reading.errors.map((error) => ({ file: path, path: "", ...error })));
  const [document, second] = reading.documents;
  if (second !== undefined) return failed([problemAt(path, second, [], "value", "is a second document; one is expected", "")]);
  return { ok: true, document };
}

function applyOverrides(raw: Record<string, unknown>, { env = {}, flags = {} }: Overrides): ReadonlyMap<string, string> {
  const origins = new Map<string, string>();
  for (const [name, at] of Object.entries(overridable)) {
    const variable = `DROVER_${name.toUpperCase().replaceAll("-", "_")}`;
    const [text, origin] = flags[name] === undefined ? [env[variable], variable] : [flags[name], `--${name}`];
    if (text === undefined) continue;
    const value = LISTS.has(name) ? text.split(",").map((part) => part.trim()) : text;
    const [section, key] = at as readonly [string, string?];
    if (key === undefined) raw[section] = value;
    else raw[section] = { ...(isMapping(raw[section]) ? raw[section] : {}), [key]: value };
    origins.set(at.join("."), origin);
  }
  return origins;
}

function portClashes({ listen }: WrittenConfig): { readonly at: readonly string[]; readonly message: string }[] {
  const seen = new Map<number, string>();
  return Object.entries(listen).flatMap(([name, { port }]) => {
    const other = seen.get(port);
    if (port !== 0) seen.set(port, name);
    return other === undefined ? [] : [{ at: ["listen", name], message: `must not have the port of listen.${other}, ${port}` }];
  });
}

function configOf(written: WrittenConfig): Config {
  const { dataDir, listen, reportLog, heartbeats, log, limits, nats, secrets } = written;
  const { connectionAge, handshakeTimeout, ...counts } = limits;
  return {
    dataDir,
    listen,
    advertisedHosts: written.advertise?.hosts ?? [...new Set([hostname().toLowerCase(), "localhost", "127.0.0.1"])],
    nats:
      nats.outside === undefined
        ? { kind: "embedded", port: nats.embedded?.port ?? 4222, program: nats.embedded?.program }
        : { kind: "outside", ...nats.outside },
    secretKeyFile: secrets.keyFile,
    reportLog: { maxAgeMs: reportLog.maxAge, maxBytes: reportLog.maxBytes },
    heartbeats: { shortestIntervalMs: heartbeats.shortestInterval, perSecond: heartbeats.perSecond },
    log,
    limits: { ...counts, connectionAgeMs: connectionAge, handshakeMs: handshakeTimeout },
  };
}

function problemAt(
  file: string,
  document: SourceDocument | undefined,
  at: readonly (string | number)[],
  where: "key" | "value",
  message: string,
  hint: string,
): Problem {
  const { line, column } = document?.position(at, where) ?? { line: 0, column: 0 };
  return { file, line, column, path: formatPath(at), message, hint };
}

function failed(problems: readonly Problem[]): { readonly ok: false; readonly problems: readonly Problem[] } {
  return { ok: false, problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) };
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  let value = raw;
  for (const part of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[part];
  return value;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function article(expected: string): string {
  const names: Record<string, string> = { object: "a mapping", array: "a list", string: "text", number: "a number", int: "a whole number" };
  return names[expected] ?? `of type ${expected}`;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
