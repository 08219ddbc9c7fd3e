/** JSON Schema (draft 2020-12) of what people write, for editors. Says less than validation does: meaning is checked by code. */
import { z } from "zod";
import { compareText } from "./canonical-json.ts";
import { type Kind, kinds } from "./objects.ts";
import { SYSCTL_RULES } from "./sysctl-allow-list.ts";
import { describeSysctl } from "./sysctl-rules.ts";

type BaseSchema = z.core.JSONSchema.BaseSchema;
export type JsonSchema = Readonly<Record<string, unknown>>;

const DIALECT = "https://json-schema.org/draft/2020-12/schema";
const BASE_ID = "https://drover.dev/schemas/v1alpha1";

/** One schema per kind. */
export function jsonSchemas(): Readonly<Record<Kind, JsonSchema>> {
  const entries = (Object.keys(kinds) as Kind[]).map((kind): [Kind, JsonSchema] => [
    kind,
    { $schema: DIALECT, $id: `${BASE_ID}/${schemaFileName(kind)}`, title: kind, ...schemaOf(kind) },
  ]);
  return Object.fromEntries(entries) as Record<Kind, JsonSchema>;
}

/** One schema for a file of any kind. */
export function combinedJsonSchema(): JsonSchema {
  const names = Object.keys(kinds) as Kind[];
  return {
    $schema: DIALECT,
    $id: `${BASE_ID}/${COMBINED_FILE_NAME}`,
    title: "Drover manifest",
    type: "object",
    required: ["apiVersion", "kind", "metadata"],
    properties: { kind: { enum: names } },
    oneOf: names.map((kind) => ({ $ref: `#/$defs/${kind}` })),
    $defs: Object.fromEntries(names.map((kind) => [kind, { title: kind, ...schemaOf(kind) }])),
  };
}

export const COMBINED_FILE_NAME = "drover.json";

/** "node-profile.json". */
export function schemaFileName(kind: Kind): string {
  return `${kind.replace(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase()}.json`;
}

/** Every file of docs/schemas by its name. */
export function schemaFiles(): ReadonlyMap<string, string> {
  const text = (schema: JsonSchema): string => `${JSON.stringify(schema, null, 2)}\n`;
  const files = new Map(Object.entries(jsonSchemas()).map(([kind, schema]) => [schemaFileName(kind as Kind), text(schema)]));
  return files.set(COMBINED_FILE_NAME, text(combinedJsonSchema()));
}

function schemaOf(kind: Kind): JsonSchema {
  const { $schema: _, ...schema } = z.toJSONSchema(kinds[kind].schema, { target: "draft-2020-12", io: "input", unrepresentable: "any" });
  if (kind === "NodeProfile") nameSysctls(schema);
  return schema;
}

/** Lets editors complete and explain the keys that may be set; those of single interfaces stay open. */
function nameSysctls(schema: BaseSchema): void {
  const values = ["spec", "sysctl", "values"].reduce((holder, name) => propertyOf(holder, name), schema);
  const keys = [...SYSCTL_RULES.keys()].flatMap((key) =>
    key.includes("*") ? [key.replace("*", "all"), key.replace("*", "default")] : [key],
  );
  const named = keys
    .sort(compareText)
    .map((key): [string, BaseSchema] => [key, { type: ["string", "integer"] as never, description: `Must be ${describeSysctl(key)}.` }]);
  values.properties = Object.fromEntries(named);
}

function propertyOf(schema: BaseSchema, name: string): BaseSchema {
  const property = schema.properties?.[name];
  if (typeof property !== "object") throw new Error(`the schema has no property ${name}`);
  return property;
}
