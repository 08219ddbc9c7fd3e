import { describe, expect, it } from "vitest";
import type { NodeSet } from "@drover/api";
import type { Catalog } from "./catalog.ts";
import { checkNames } from "./named-objects.ts";
import { planRemove } from "./remove.ts";

const set = (name: string, spec: object = {}): NodeSet =>
  ({ kind: "NodeSet", metadata: { name }, spec: { selector: {}, profile: "web", strategy: {}, ...spec } }) as never;

function catalogOf(...objects: readonly { readonly kind: string; readonly metadata: { readonly name: string } }[]): Catalog {
  const of = (kind: string) =>
    new Map(objects.filter((each) => each.kind === kind).map((value) => [value.metadata.name, { value, revision: 1 }]));
  return { objects: of, object: (kind: string, name: string) => of(kind).get(name), revisions: new Map() } as never;
}

const remove = (catalog: Catalog, kind: "MaintenanceWindow" | "NodeSet" | "Repair", name: string) =>
  planRemove(
    { catalog, clock: { now: () => 0 } as never, random: { bytes: (length: number) => Buffer.alloc(length) } as never },
    { kind, name, expectedResourceVersion: 0, actor: "operator:ann" },
  );

describe("names of other objects", () => {
  it("that are not there are told, for they may come", () => {
    const applied = set("web", { after: ["db"], strategy: { windows: ["night"] } });
    expect(checkNames(applied, catalogOf())).toMatchObject({
      ok: true,
      warnings: [
        expect.stringContaining("spec.after: NodeSet/db does not exist") as string,
        expect.stringContaining("spec.strategy.windows: MaintenanceWindow/night does not exist") as string,
      ],
    });
  });

  it("that wait for each other are refused, however long the way round, and also a set that waits for itself", () => {
    const catalog = catalogOf(set("db", { after: ["cache"] }), set("cache", { after: ["web"] }), set("web"));
    expect(checkNames(set("web", { after: ["other", "db"] }), catalog)).toMatchObject({
      reason: "InvalidObject",
      message: expect.stringContaining(
        "NodeSet/web is after NodeSet/db, which is after NodeSet/cache, which is after NodeSet/web",
      ) as string,
    });
    expect(checkNames(set("web", { after: ["web"] }), catalog)).toMatchObject({ reason: "InvalidObject" });
    expect(checkNames(set("api", { after: ["web", "db"] }), catalog)).toMatchObject({ ok: true, warnings: [] });
  });
});

describe("deleting", () => {
  it("refuses a window and a set that others name, and a repair that is at work", () => {
    const window = { kind: "MaintenanceWindow", metadata: { name: "night" } };
    const repair = (phase: string) => ({ kind: "Repair", metadata: { name: "a-1" }, status: { phase } });
    const catalog = catalogOf(window, set("db"), set("web", { after: ["db"], strategy: { windows: ["night"] } }), repair("Running"));
    expect(remove(catalog, "MaintenanceWindow", "night")).toMatchObject({
      reason: "InUse",
      message: expect.stringContaining("NodeSet/web") as string,
    });
    expect(remove(catalog, "NodeSet", "db")).toMatchObject({
      reason: "InUse",
      message: expect.stringContaining("NodeSet/web (spec.after)") as string,
    });
    expect(remove(catalog, "Repair", "a-1")).toMatchObject({
      reason: "InUse",
      message: expect.stringContaining("drover repair cancel a-1") as string,
    });
    expect(remove(catalogOf(window), "MaintenanceWindow", "night")).toMatchObject({ ok: true });
    expect(remove(catalogOf(repair("Succeeded")), "Repair", "a-1")).toMatchObject({ ok: true });
  });
});
