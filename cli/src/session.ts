/** What every command gets: where it prints, the clock, the stop signal, and the coordinator when it asks for it. */
import { createInterface } from "node:readline/promises";
import type { DroverObject, Kind } from "@drover/api";
import { kindOf } from "@drover/api";
import type { ResourceObject } from "@drover/proto";
import { CliError, exitCodes } from "./cli-error.ts";
import { Connection } from "./connection.ts";
import { chooseContext, contextFilePath, readContextFile } from "./context/context-file.ts";

export interface GlobalOptions {
  readonly context?: string;
  readonly requestTimeoutMs: number;
}

export interface Session {
  readonly environment: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  nowMs(): number;
  print(text: string): void;
  /** A line that the next one replaces; only a terminal shows it. Empty: removes it. */
  showLive(text: string): void;
  warn(text: string): void;
  readStdin(): Promise<string>;
  /** One line from a person; undefined: there is none here. */
  ask(question: string): Promise<string | undefined>;
  connect(): Connection;
}

/** The session of a real command line. */
export function makeSession(options: GlobalOptions, environment: NodeJS.ProcessEnv, signal: AbortSignal): Session {
  let connection: Connection | undefined;
  let hasLiveLine = false;
  const clearLive = (): string => {
    const clear = hasLiveLine ? "\r\u001B[K" : "";
    hasLiveLine = false;
    return clear;
  };
  return {
    environment,
    signal,
    nowMs: () => Date.now(),
    print: (text) => void process.stdout.write(`${clearLive()}${text}\n`),
    showLive(text) {
      if (!process.stdout.isTTY) return;
      process.stdout.write(`${clearLive()}${text.slice(0, process.stdout.columns - 1)}`);
      hasLiveLine = text !== "";
    },
    warn(text) {
      process.stdout.write(clearLive());
      process.stderr.write(`${text}\n`);
    },
    async readStdin() {
      let text = "";
      process.stdin.setEncoding("utf8");
      for await (const chunk of process.stdin) text += chunk as string;
      return text;
    },
    async ask(question) {
      if (!process.stdin.isTTY || !process.stdout.isTTY) return undefined;
      const lines = createInterface({ input: process.stdin, output: process.stdout });
      try {
        // Ctrl-C and Ctrl-D are no answer, and no is what they mean.
        return await Promise.race([
          lines.question(question, { signal }).catch(() => ""),
          new Promise<string>((resolve) => lines.once("close", () => resolve(""))),
        ]);
      } finally {
        lines.close();
      }
    },
    connect() {
      if (connection === undefined) {
        const path = contextFilePath(environment);
        connection = new Connection(chooseContext(readContextFile(path), path, options.context), options.requestTimeoutMs);
      }
      return connection;
    },
  };
}

/** "node", "nodes", "no" -> Node. @throws CliError that names what there is */
export function kindFrom(text: string): Kind {
  const kind = kindOf(text);
  if (kind !== undefined) return kind;
  throw new CliError(
    exitCodes.usage,
    `there is no kind '${text}'; there are nodes, nodesets, nodeprofiles, clusters, rollouts, repairs, windows, imagelocks, jointokens`,
    "drover get nodes",
  );
}

/** "node/web-1" or "node web-1" -> [Node, web-1]. */
export function targetFrom(words: readonly string[]): { readonly kind: Kind; readonly name: string } {
  const [first = "", second] = words;
  const slash = first.indexOf("/");
  const [kindText, name] = slash > 0 ? [first.slice(0, slash), first.slice(slash + 1)] : [first, second];
  if (name === undefined || name === "" || words.length > (slash > 0 ? 1 : 2)) {
    throw new CliError(
      exitCodes.usage,
      `'${words.join(" ")}' does not name one object: KIND/NAME or KIND NAME is wanted`,
      "drover get nodes -o name",
    );
  }
  return { kind: kindFrom(kindText ?? ""), name };
}

export function decodeObject(resource: ResourceObject | undefined): DroverObject {
  if (resource === undefined)
    throw new CliError(exitCodes.failed, "the coordinator answered without an object", "drover-coordinator doctor");
  return JSON.parse(resource.json.toString("utf8")) as DroverObject;
}
