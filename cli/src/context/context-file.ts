/** ~/.config/drover/config.yaml: which coordinators there are, and by which certificate we are known to each. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { LineCounter, parseDocument, stringify } from "yaml";
import { CliError, exitCodes } from "../cli-error.ts";

export interface Context {
  readonly name: string;
  /** "host:port" of the coordinator's mTLS port. */
  readonly endpoint: string;
  readonly caPem: string;
  readonly certificatePem: string;
  /** Secret. */
  readonly keyPem: string;
}

export interface ContextFile {
  readonly currentContext: string;
  readonly contexts: readonly Context[];
}

/** $DROVER_CONFIG, else ~/.config/drover/config.yaml. */
export function contextFilePath(environment: NodeJS.ProcessEnv): string {
  return environment["DROVER_CONFIG"] ?? join(environment["HOME"] ?? homedir(), ".config/drover/config.yaml");
}

/** @throws CliError with file:line:column when the file is missing or wrong */
export function readContextFile(path: string): ContextFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : `cannot be read: ${(error as Error).message}`;
    throw new CliError(
      exitCodes.auth,
      `${path} ${why}`,
      "on the coordinator's machine: drover-coordinator operator create NAME --role operator --out FILE",
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const broken = document.errors[0];
  if (broken !== undefined) {
    const at = lines.linePos(broken.pos[0]);
    throw new CliError(
      exitCodes.usage,
      `${path}:${at.line}:${at.col}: ${broken.message.split("\n")[0]}`,
      "on the coordinator's machine: drover-coordinator operator create NAME --role viewer --out FILE",
    );
  }
  const problem = (keyPath: readonly (string | number)[], message: string): CliError => {
    const range = (document.getIn(keyPath, true) as { range?: [number, number, number] } | undefined)?.range;
    const at = lines.linePos(range?.[0] ?? 0);
    return new CliError(
      exitCodes.usage,
      `${path}:${at.line}:${at.col}: ${keyPath.length === 0 ? "" : `${keyPath.join(".")}: `}${message}`,
      "on the coordinator's machine: drover-coordinator operator create NAME --role viewer --out FILE",
    );
  };
  const value = document.toJS() as { currentContext?: unknown; contexts?: unknown } | null;
  if (value === null || typeof value !== "object" || !Array.isArray(value.contexts)) throw problem([], "has no list 'contexts'");
  const contexts = value.contexts.map((entry: unknown, index): Context => {
    const fields = (entry ?? {}) as Record<string, unknown>;
    for (const key of ["name", "endpoint", "caPem", "certificatePem", "keyPem"] as const) {
      if (typeof fields[key] !== "string" || fields[key] === "") throw problem(["contexts", index], `needs '${key}'`);
    }
    if (!/^(\[[^\]]+\]|[^:]+):\d{1,5}$/.test(fields["endpoint"] as string))
      throw problem(["contexts", index, "endpoint"], "must be host:port");
    return entry as Context;
  });
  const currentContext = typeof value.currentContext === "string" ? value.currentContext : (contexts[0]?.name ?? "");
  return { currentContext, contexts };
}

/** @throws CliError when no context has that name */
export function chooseContext(file: ContextFile, path: string, wanted: string | undefined): Context {
  const name = wanted ?? file.currentContext;
  const found = file.contexts.find((context) => context.name === name);
  if (found !== undefined) return found;
  const names = file.contexts.map((context) => context.name).join(", ");
  throw new CliError(
    exitCodes.usage,
    `no context is called '${name}' in ${path}${names === "" ? "" : ` (there are: ${names})`}`,
    "drover context list",
  );
}

/** Makes another context the current one; the file is replaced as a whole, readable by its owner only. */
export function useContext(path: string, name: string): void {
  const file = readContextFile(path);
  chooseContext(file, path, name);
  const draft = `${path}.${process.pid}.tmp`;
  writeFileSync(draft, stringify({ currentContext: name, contexts: file.contexts }), { mode: 0o600 });
  renameSync(draft, path);
}
