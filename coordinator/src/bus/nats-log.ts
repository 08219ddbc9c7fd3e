/** What the embedded server writes for people: bounded in size, since it lives longer than anybody looks. */
import { closeSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readIfThere } from "./durable-file.ts";

/** nats-server begins a new file at this size. That it also limits their number came with 2.10, so that is done here. */
export const LOG_FILE_BYTES = 16 * 1024 ** 2;
const KEPT_FILES = 3;
const LOG_FILE = "nats.log";
const TAIL_LINES = 5;
/** nats.log.2026.11.22.15.18.05.109751515 */
const ROTATED = /^nats\.log\.[\d.]+$/;

export function logPath(dataDir: string): string {
  return join(dataDir, LOG_FILE);
}

/** For standard output and error: what goes wrong before the log is open, and a crash; of the last start only. Closing it is the caller's. */
export function openOutput(dataDir: string): number {
  // Made here, because the server would let its group read it.
  closeSync(openSync(logPath(dataDir), "a", 0o600));
  return openSync(outputPath(dataDir), "w", 0o600);
}

/** Removes all rotated files but the newest. */
export function pruneLogs(dataDir: string): void {
  const rotated = namesIn(dataDir).filter((name) => ROTATED.test(name));
  for (const name of rotated.sort().slice(0, -KEPT_FILES)) rmSync(join(dataDir, name), { force: true });
}

/** The last words of a server that did not start. */
export function lastWords(dataDir: string): string {
  const lines = [outputPath(dataDir), logPath(dataDir)].flatMap((path) =>
    (readIfThere(path)?.toString() ?? "").trimEnd().split("\n").slice(-TAIL_LINES),
  );
  return lines.filter((line) => line !== "").join("\n");
}

function outputPath(dataDir: string): string {
  return join(dataDir, "nats.out");
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
