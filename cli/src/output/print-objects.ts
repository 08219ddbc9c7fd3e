/** Objects as a table, wide, JSON, YAML or names. */
import type { DroverObject, Kind } from "@drover/api";
import { stringify } from "yaml";
import { columns } from "./columns.ts";
import { table } from "./table.ts";

export const outputFormats = ["table", "wide", "json", "yaml", "name"] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** @param isList whether many were asked for: JSON and YAML then give a List */
export function printObjects(kind: Kind, objects: readonly DroverObject[], format: OutputFormat, isList: boolean, nowMs: number): string {
  switch (format) {
    case "json":
    case "yaml": {
      const value = isList ? { apiVersion: "drover.dev/v1alpha1", kind: "List", items: objects } : objects[0];
      return format === "json" ? JSON.stringify(value, null, 2) : stringify(value).trimEnd();
    }
    case "name":
      return objects.map((object) => `${kind.toLowerCase()}/${object.metadata.name}`).join("\n");
    case "table":
    case "wide": {
      const shown = columns[kind].filter((column) => format === "wide" || column.isWide !== true);
      return table(
        shown.map((column) => column.title),
        objects.map((object) => shown.map((column) => column.cell(object, nowMs))),
      );
    }
  }
}
