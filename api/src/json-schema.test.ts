import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { combinedJsonSchema, jsonSchemas, kinds } from "./index.ts";
import { schemaFiles } from "./json-schema.ts";

const FOLDER = join(import.meta.dirname, "../../docs/schemas");

describe("jsonSchemas", () => {
  it("has one per kind, in draft 2020-12, in which defaults may be left out", () => {
    const schemas = jsonSchemas();
    expect(Object.keys(schemas)).toEqual(Object.keys(kinds));
    for (const schema of Object.values(schemas))
      expect(schema).toMatchObject({ $schema: "https://json-schema.org/draft/2020-12/schema", type: "object" });
    expect(schemas.NodeSet).toMatchObject({ properties: { spec: { required: ["selector", "profile"], additionalProperties: false } } });
  });

  it("explains fields, and each sysctl by name", () => {
    expect(jsonSchemas().NodeProfile).toMatchObject({
      properties: {
        spec: {
          properties: {
            sysctl: {
              properties: { values: { properties: { "vm.swappiness": { description: "Must be a whole number from 0 to 200." } } } },
            },
          },
        },
      },
    });
  });
});

describe("combinedJsonSchema", () => {
  it("leads each kind to its own schema", () => {
    const { oneOf, $defs } = combinedJsonSchema() as {
      oneOf: { $ref: string }[];
      $defs: Record<string, { properties: { kind: { const: string } } }>;
    };
    for (const { $ref } of oneOf) {
      const name = $ref.replace("#/$defs/", "");
      expect($defs[name]!.properties.kind.const).toBe(name);
    }
    expect(oneOf).toHaveLength(Object.keys(kinds).length);
  });
});

describe("docs/schemas", () => {
  it("is what the schemas say now (else: node api/src/write-schemas.ts)", () => {
    const files = schemaFiles();
    expect(readdirSync(FOLDER).sort()).toEqual([...files.keys()].sort());
    for (const [name, text] of files) expect(readFileSync(join(FOLDER, name), "utf8") === text, name).toBe(true);
  });
});
