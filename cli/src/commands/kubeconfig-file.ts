/** Reads a kubeconfig to hand over. It is a secret: what is wrong with it is told by place, never by content. */
import { type Stats, statSync, readFileSync } from "node:fs";
import { Secret } from "@drover/lifecycle";
import { LineCounter, parseDocument } from "yaml";
import { CliError, exitCodes } from "../cli-error.ts";
import { makeKubeconfig } from "../next-step.ts";
import type { Session } from "../session.ts";

/** As the coordinator takes it. */
const MAX_BYTES = 64 * 1024;
const OTHERS = 0o077;

/** @param path "-": standard input. @throws CliError */
export async function readKubeconfig(session: Session, path: string): Promise<Secret> {
  const where = path === "-" ? "<stdin>" : path;
  const text = path === "-" ? await session.readStdin() : readPrivate(session, path);
  check(text, where);
  return new Secret(text);
}

function readPrivate(session: Session, path: string): string {
  let stats: Stats;
  let bytes: Buffer;
  try {
    stats = statSync(path);
    if (stats.isDirectory()) throw new CliError(exitCodes.usage, `${path} is a folder, not a kubeconfig`, makeKubeconfig);
    if (stats.size > MAX_BYTES) throw tooLarge(path, stats.size);
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof CliError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CliError(exitCodes.usage, code === "ENOENT" ? `${path}: no such file` : `${path} cannot be read: ${message}`, makeKubeconfig);
  }
  if (stats.isFile() && (stats.mode & OTHERS) !== 0) {
    session.warn(`warning: ${path} can be read by others than its owner, and is a secret; chmod 600 ${path}`);
  }
  return bytes.toString("utf8");
}

function check(text: string, where: string): void {
  const length = Buffer.byteLength(text);
  if (text.trim() === "") throw new CliError(exitCodes.usage, `${where} is empty, not a kubeconfig`, makeKubeconfig);
  if (length > MAX_BYTES) throw tooLarge(where, length);
  const lines = new LineCounter();
  // Its own messages quote what they complain of.
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines, logLevel: "silent" });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new CliError(exitCodes.usage, `${where}:${line}:${col}: is no YAML, and so no kubeconfig (${problem.code})`, makeKubeconfig);
  }
  const has = (key: string): boolean => document.has(key);
  const isMap = document.contents !== null && "items" in document.contents;
  if (!isMap || document.get("kind") !== "Config" || !has("clusters") || !has("users") || !has("contexts")) {
    throw new CliError(
      exitCodes.usage,
      `${where} is no kubeconfig: kind Config with clusters, users and contexts is wanted`,
      makeKubeconfig,
    );
  }
}

function tooLarge(where: string, bytes: number): CliError {
  return new CliError(exitCodes.usage, `${where} has ${bytes} bytes; a kubeconfig of at most ${MAX_BYTES} is taken`, makeKubeconfig);
}
