/** Manifests from -f FILE, DIRECTORY or - (standard input), validated before anything is sent. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { formatProblem, type Manifest, parseManifests } from "@drover/api";
import { CliError, exitCodes } from "../cli-error.ts";
import type { Session } from "../session.ts";

/** @throws CliError with all problems of all files, each with file:line:column */
export async function readManifests(session: Session, paths: readonly string[]): Promise<readonly Manifest[]> {
  if (paths.length === 0) throw new CliError(exitCodes.usage, "-f FILE is needed", "drover apply -f profile.yaml");
  const manifests: Manifest[] = [];
  const problems: string[] = [];
  for (const path of paths) {
    for (const file of path === "-" ? ["-"] : filesOf(path)) {
      const text = file === "-" ? await session.readStdin() : readText(file);
      const parsed = parseManifests(text, file === "-" ? "<stdin>" : file);
      if (parsed.ok) manifests.push(...parsed.manifests);
      else problems.push(...parsed.problems.map(formatProblem));
    }
  }
  if (problems.length > 0)
    throw new CliError(
      exitCodes.usage,
      `${problems.join("\n")}\nnothing was changed`,
      `mend what is named, then: drover apply --dry-run=client ${paths.map((path) => `-f ${path}`).join(" ")}`,
    );
  if (manifests.length === 0)
    throw new CliError(exitCodes.usage, `no object in ${paths.join(", ")}`, "a manifest has apiVersion, kind, metadata and spec");
  return manifests;
}

function filesOf(path: string): readonly string[] {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (error) {
    throw new CliError(
      exitCodes.usage,
      `${path}: ${(error as NodeJS.ErrnoException).code === "ENOENT" ? "no such file or folder" : (error as Error).message}`,
    );
  }
  if (!isDirectory) return [path];
  const names = readdirSync(path)
    .filter((name) => /\.(ya?ml|json)$/.test(name))
    .sort();
  if (names.length === 0) throw new CliError(exitCodes.usage, `${path} has no .yaml, .yml or .json file`);
  return names.map((name) => join(path, name));
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new CliError(exitCodes.usage, `${file} cannot be read: ${(error as Error).message}`);
  }
}
