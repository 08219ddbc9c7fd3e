/** Writes docs/schemas; run after a change of schemas: `node api/src/write-schemas.ts`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { schemaFiles } from "./json-schema.ts";

const folder = join(import.meta.dirname, "../../docs/schemas");
mkdirSync(folder, { recursive: true });
for (const [name, text] of schemaFiles()) writeFileSync(join(folder, name), text);
