/** Careful steps into JSON whose shape is not known. */
import type { Path } from "./problems.ts";

export function at(json: unknown, path: Path): unknown {
  let value = json;
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string | number, unknown>)[part];
  }
  return value;
}

export function mappingAt(json: unknown, path: Path): Readonly<Record<string, unknown>> | undefined {
  const value = at(json, path);
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

export function listAt(json: unknown, path: Path): readonly unknown[] | undefined {
  const value = at(json, path);
  return Array.isArray(value) ? value : undefined;
}

export function textAt(json: unknown, path: Path): string | undefined {
  const value = at(json, path);
  return typeof value === "string" ? value : undefined;
}
