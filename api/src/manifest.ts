/** Reads what people write: YAML manifests, every problem at once with its file:line:column. */
import type { DroverObject } from "./objects.ts";
import { formatPath, parsePath, type Problem } from "./problems.ts";
import { checkObject } from "./validate.ts";
import { type Position, readYaml, type SourceDocument } from "./yaml-source.ts";

export interface Manifest {
  /** With defaults filled in. */
  readonly object: DroverObject;
  readonly file: string;
  /** Where its document begins, from 1. */
  readonly line: number;
  /** Where its parts stand; locate asks it. */
  readonly source: SourceDocument;
}

export type ManifestParsing =
  | { readonly ok: true; readonly manifests: readonly Manifest[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Parses one or several YAML (or JSON) documents; empty ones are passed over.
 * @param file its name, for the problems
 */
export function parseManifests(text: string, file: string): ManifestParsing {
  const reading = readYaml(text);
  if (!reading.ok) return { ok: false, problems: reading.errors.map((error) => ({ file, path: "", ...error })) };
  if (reading.documents.length === 0) return refuse(file, "holds no object");
  const problems: Problem[] = [];
  const manifests: Manifest[] = [];
  const firstLines = new Map<string, number>();
  for (const source of reading.documents) {
    const check = checkObject(source.value);
    if ("findings" in check) {
      const own = check.findings.map(({ path, at, message, hint }) => ({
        file,
        ...source.position(path, at),
        path: formatPath(path),
        message,
        hint,
      }));
      problems.push(...own.sort((a, b) => a.line - b.line || a.column - b.column));
      continue;
    }
    const { kind, metadata } = check.object;
    const firstLine = firstLines.get(`${kind}/${metadata.name}`);
    if (firstLine !== undefined) {
      const message = `${kind}/${metadata.name} is defined on line ${firstLine} already`;
      problems.push({
        file,
        ...source.position(["metadata", "name"]),
        path: "metadata.name",
        message,
        hint: "remove or rename one of them",
      });
    }
    firstLines.set(`${kind}/${metadata.name}`, source.start.line);
    manifests.push({ object: check.object, file, line: source.start.line, source });
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, manifests };
}

function refuse(file: string, message: string): ManifestParsing {
  return {
    ok: false,
    problems: [{ file, line: 1, column: 1, path: "", message, hint: "a manifest begins with apiVersion, kind and metadata" }],
  };
}

/**
 * Where the part at path stands in the manifest's file; where there is no such part, what would hold it.
 * @param path as formatPath writes it, and as a problem of validateObject carries it
 */
export function locate(manifest: Manifest, path: string): Position & { readonly file: string } {
  const parts = parsePath(path);
  return { file: manifest.file, ...(parts === undefined ? manifest.source.start : manifest.source.position(parts)) };
}
