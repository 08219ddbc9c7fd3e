/** The catalog's objects as they would be with manifests applied; nothing is written. */
import { type DroverObject, formatProblem, type MaintenanceWindow, type NodeSet, validateObject } from "@drover/api";
import { Refused, refuse } from "../refusal.ts";
import type { Catalog } from "./catalog.ts";
import { type Content, contentIn } from "./revisions.ts";

export interface AsIfApplied {
  readonly content: Content;
  readonly sets: ReadonlyMap<string, NodeSet>;
  readonly windows: ReadonlyMap<string, MaintenanceWindow>;
  /** Whether one of the manifests is the set, or something that it is made from. */
  isTouched(set: NodeSet): boolean;
}

/** @param manifests as JSON. @throws Refused */
export function asIfApplied(catalog: Catalog, manifests: readonly Uint8Array[]): AsIfApplied {
  const stored = contentIn(catalog);
  const [profiles, locks, clusters] = [new Map(stored.profiles), new Map(stored.locks), new Map(stored.clusters)];
  const sets = new Map([...catalog.objects("NodeSet")].map(([name, { value }]) => [name, value]));
  const windows = new Map([...catalog.objects("MaintenanceWindow")].map(([name, { value }]) => [name, value]));
  const touched = new Set<string>();
  for (const manifest of manifests) {
    const object = objectFrom(manifest);
    touched.add(`${object.kind}/${object.metadata.name}`);
    if (object.kind === "NodeProfile") profiles.set(object.metadata.name, object);
    else if (object.kind === "ImageLock") locks.set(object.metadata.name, object);
    else if (object.kind === "Cluster") clusters.set(object.metadata.name, object);
    else if (object.kind === "NodeSet") sets.set(object.metadata.name, object);
    else if (object.kind === "MaintenanceWindow") windows.set(object.metadata.name, object);
    else throw new Refused(refuse("NotApplicable", `a ${object.kind} is made by the coordinator, not applied`));
  }
  return {
    content: { ...stored, profiles, locks, clusters },
    sets,
    windows,
    isTouched({ metadata, spec }) {
      const lock = profiles.get(spec.profile)?.spec.images?.lock;
      return (
        touched.has(`NodeSet/${metadata.name}`) ||
        touched.has(`Cluster/${spec.cluster}`) ||
        touched.has(`NodeProfile/${spec.profile}`) ||
        touched.has(`ImageLock/${lock}`)
      );
    },
  };
}

function objectFrom(manifest: Uint8Array): DroverObject {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(manifest).toString("utf8"));
  } catch (error) {
    throw new Refused(refuse("InvalidObject", `a manifest is no JSON: ${(error as Error).message}`));
  }
  const validation = validateObject(json);
  if (!validation.ok) throw new Refused(refuse("InvalidObject", validation.problems.map(formatProblem).join("\n")));
  return validation.object;
}
