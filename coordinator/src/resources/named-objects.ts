/** Names of other objects in an object that is applied: what is not there is told, what can never come true is refused. Pure reading of the catalog. */
import type { DroverObject, NodeSet } from "@drover/api";
import { type Refusal, refuse } from "../refusal.ts";
import type { Catalog } from "./catalog.ts";
import { notOnRecord } from "./revisions.ts";

export function checkNames(
  object: DroverObject,
  catalog: Pick<Catalog, "objects" | "revisions">,
): { readonly ok: true; readonly warnings: readonly string[] } | Refusal {
  if (object.kind !== "NodeSet") return { ok: true, warnings: [] };
  const stored = catalog.objects("NodeSet");
  const { name } = object.metadata;
  const cycle = cycleFrom(object, (other) => (other === name ? object : stored.get(other)?.value));
  if (cycle !== undefined) {
    const path = cycle.map((each) => `NodeSet/${each}`).join(", which is after ");
    return refuse(
      "InvalidObject",
      `spec.after: NodeSet/${name} is after ${path}: each would wait for the other for ever; take one of them out`,
    );
  }
  const { revision } = object.spec;
  if (revision !== undefined && !catalog.revisions.has(revision)) return refuse("InvalidObject", notOnRecord(name, object.spec));
  const windows = catalog.objects("MaintenanceWindow");
  return {
    ok: true,
    warnings: [
      ...(object.spec.after ?? [])
        .filter((other) => !stored.has(other))
        .map((other) => `spec.after: NodeSet/${other} does not exist; nothing of NodeSet/${name} begins before it is there and complete`),
      ...(object.spec.strategy.windows ?? [])
        .filter((window) => !windows.has(window))
        .map((window) => `spec.strategy.windows: MaintenanceWindow/${window} does not exist; it opens never; apply it: drover apply -f`),
    ],
  };
}

/** The names from the set's first step back to itself; undefined: it waits for nobody who waits for it. */
function cycleFrom(set: NodeSet, setOf: (name: string) => NodeSet | undefined): readonly string[] | undefined {
  const target = set.metadata.name;
  const seen = new Set<string>();
  const paths = (set.spec.after ?? []).map((name) => [name]);
  for (let path = paths.shift(); path !== undefined; path = paths.shift()) {
    const name = path.at(-1)!;
    if (name === target) return path;
    if (seen.has(name)) continue;
    seen.add(name);
    for (const next of setOf(name)?.spec.after ?? []) paths.push([...path, next]);
  }
  return undefined;
}
