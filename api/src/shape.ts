/** Checks an object's shape by its kind's schema, and says what is wrong so that a person can mend it. */
import type { z } from "zod";
import { didYouMean } from "./nearest.ts";
import { type DroverObject, type Kind, kinds } from "./objects.ts";
import { type Finding, formatPath, type Path } from "./problems.ts";

export type ShapeCheck = { readonly object: DroverObject } | { readonly findings: readonly Finding[] };

/** Told of one mapping. */
const MAX_UNKNOWN_KEYS = 50;

type Issue = z.core.$ZodIssue;
type Schema = z.core.$ZodType;

/** @param json whose kind is known already */
export function checkShape(kind: Kind, json: unknown): ShapeCheck {
  const schema: z.ZodType<DroverObject> = kinds[kind].schema;
  const result = schema.safeParse(json, { reportInput: true });
  if (result.success) return { object: result.data };
  return { findings: result.error.issues.flatMap((issue) => findingsOf(issue, schema, [])) };
}

/** What a schema of somebody else's finds wrong, in the same words. */
export function shapeFindings(schema: z.ZodType, value: unknown): readonly Finding[] {
  const result = schema.safeParse(value, { reportInput: true });
  return result.success ? [] : result.error.issues.flatMap((issue) => findingsOf(issue, schema, []));
}

function findingsOf(issue: Issue, root: Schema, parent: Path): Finding[] {
  const path: Path = [...parent, ...issue.path.map((part) => (typeof part === "number" ? part : String(part)))];
  const value = (message: string, hint = ""): Finding[] => [{ path, at: "value", message, hint }];
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.slice(0, MAX_UNKNOWN_KEYS).map((key) => ({
        path: [...path, key],
        at: "key",
        message: "is not known here",
        hint: unknownKeyHint(key, path, root),
      }));
    case "invalid_key":
      return issue.issues.map((inner) => ({ path, at: "key", message: inner.message, hint: "" }));
    case "invalid_union":
      return unionFindings(issue, root, path);
    case "invalid_type":
      if (issue.input === undefined) return value("is required", requiredHint(path, root));
      return value(`must be ${typeName(issue.expected)}, not ${typeOf(issue.input)}`, typeHint(issue.expected, issue.input));
    case "invalid_value":
      return value(
        `must be ${list(issue.values.map((allowed) => JSON.stringify(allowed)))}, not ${shown(issue.input)}`,
        enumHint(issue.input, issue.values),
      );
    case "too_small":
      return value(tooSmall(issue.origin, issue.minimum));
    case "too_big":
      return value(tooBig(issue.origin, issue.maximum), issue.origin === "int" ? "quote a number this large, if text is allowed here" : "");
    case "invalid_format":
    case "custom":
    case "invalid_element":
    case "not_multiple_of":
      return value(issue.message);
  }
}

/** Of a union's branches only the one that the value was meant for is worth telling. */
function unionFindings(issue: Extract<Issue, { code: "invalid_union" }>, root: Schema, path: Path): Finding[] {
  const meant = issue.errors.find((branch) => !branch.some((inner) => inner.code === "invalid_type" && inner.path.length === 0));
  if (meant !== undefined) return meant.flatMap((inner) => findingsOf(inner, root, path));
  const types = issue.errors.flatMap((branch) =>
    branch.flatMap((inner) => (inner.code === "invalid_type" ? [typeName(inner.expected)] : [])),
  );
  if (issue.input === undefined) return [{ path, at: "value", message: "is required", hint: "" }];
  const message = `must be ${list([...new Set(types)])}, not ${typeOf(issue.input)}`;
  return [{ path, at: "value", message, hint: typeof issue.input === "number" ? "quote it" : "" }];
}

function tooSmall(origin: string, minimum: number | bigint): string {
  if (origin === "string") return minimum === 1 ? "must not be empty" : `must have at least ${minimum} characters`;
  if (origin === "array" || origin === "set") return minimum === 1 ? "must not be empty" : `must have at least ${minimum} items`;
  return `must be at least ${minimum}`;
}

function tooBig(origin: string, maximum: number | bigint): string {
  if (origin === "string") return `must have at most ${maximum} characters`;
  if (origin === "array" || origin === "set") return `must have at most ${maximum} items`;
  return `must be at most ${maximum}`;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "text",
  int: "a whole number",
  number: "a number",
  boolean: "true or false",
  object: "a mapping",
  record: "a mapping",
  array: "a list",
};

function typeName(expected: string): string {
  return TYPE_NAMES[expected] ?? expected;
}

function typeOf(input: unknown): string {
  if (input === null) return "empty";
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object") return "a mapping";
  return shown(input);
}

function shown(input: unknown): string {
  if (typeof input === "object") return typeOf(input);
  const text = JSON.stringify(input) ?? "undefined";
  const noun = typeof input === "string" ? "the text " : typeof input === "number" ? "the number " : "";
  return `${noun}${text.length > 80 ? `${text.slice(0, 77)}...` : text}`;
}

function typeHint(expected: string, input: unknown): string {
  if (expected === "string" && (typeof input === "number" || typeof input === "boolean"))
    return `quote it: ${JSON.stringify(String(input))}`;
  if (expected === "boolean" && typeof input === "string") return "write true or false without quotes";
  if ((expected === "int" || expected === "number") && typeof input === "string" && /^\d+$/.test(input)) return "remove the quotes";
  if (expected === "array" && typeof input === "object" && input !== null) return "begin each item with '- '";
  return "";
}

function enumHint(input: unknown, values: readonly unknown[]): string {
  return typeof input === "string" && values.length > 1 ? didYouMean(input, values.map(String)) : "";
}

function list(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function requiredHint(path: Path, root: Schema): string {
  const schema = schemaAt(root, path);
  const description = schema === undefined ? undefined : describe(schema);
  return description === undefined ? "" : `${formatPath(path.slice(-1))}: ${description}`;
}

function unknownKeyHint(key: string, holder: Path, root: Schema): string {
  const schema = schemaAt(root, holder);
  const siblings = Object.keys(schema === undefined ? {} : fieldsOf(schema));
  const near = didYouMean(key, siblings);
  if (near !== "") return near;
  const elsewhere = placesOf(key, root, []).filter((place) => formatPath(place.slice(0, -1)) !== formatPath(holder));
  if (elsewhere.length === 1) return `it belongs under ${formatPath(elsewhere[0]!.slice(0, -1))}`;
  return siblings.length > 0 && siblings.length <= 12 ? `known here: ${siblings.join(", ")}` : "";
}

interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly element?: Schema;
  readonly valueType?: Schema;
  readonly innerType?: Schema;
}

function definitionOf(schema: Schema): Definition {
  const definition = schema._zod.def as unknown as Definition;
  return definition.innerType === undefined ? definition : definitionOf(definition.innerType);
}

function fieldsOf(schema: Schema): Readonly<Record<string, Schema>> {
  return definitionOf(schema).shape ?? {};
}

function describe(schema: Schema): string | undefined {
  return (schema as z.ZodType).description;
}

function schemaAt(root: Schema, path: Path): Schema | undefined {
  let schema: Schema | undefined = root;
  for (const part of path) {
    if (schema === undefined) return undefined;
    const { shape, element, valueType }: Definition = definitionOf(schema);
    schema = shape !== undefined && Object.hasOwn(shape, part) ? shape[part] : (element ?? valueType);
  }
  return schema;
}

/** Where else a kind has a field of that name, outside of lists and status. */
function placesOf(key: string, schema: Schema, path: Path): Path[] {
  return Object.entries(fieldsOf(schema)).flatMap(([name, field]) => {
    if (name === "status") return [];
    const place = [...path, name];
    return [...(name === key ? [place] : []), ...placesOf(key, field, place)];
  });
}
