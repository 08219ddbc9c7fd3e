/**
 * What a schema cannot say: checks of what the values mean, alone and together.
 * They take raw JSON, not parsed objects, so that they can be told beside the faults of shape; of what has the wrong shape they say nothing.
 */
import { checkBinaries } from "./binary-rules.ts";
import { checkContainerd } from "./containerd-rules.ts";
import { checkImages } from "./image-rules.ts";
import { checkKubernetes } from "./kubernetes-rules.ts";
import { checkKernelModules } from "./module-rules.ts";
import type { Kind } from "./objects.ts";
import type { Finding, Path } from "./problems.ts";
import { at, listAt, mappingAt } from "./raw.ts";
import { checkDuration, checkNodeSetRules, checkStrategy, checkTwice, checkUrlWithoutSecrets } from "./strategy-rules.ts";
import { checkSysctls } from "./sysctl-rules.ts";
import { checkWindow } from "./window-rules.ts";

const BINARIES: Path = ["spec", "binaries"];

export function checkMeaning(kind: Kind, json: unknown): readonly Finding[] {
  switch (kind) {
    case "NodeProfile":
      return [
        ...checkBinaries(at(json, BINARIES), BINARIES),
        ...checkKernelModules(json, ["spec", "kernelModules", "names"]),
        ...checkSysctlSection(json),
        ...checkContainerd(json),
        ...checkKubernetes(json),
        ...checkImagesSection(json),
        ...checkProbes(json),
      ];
    case "ImageLock":
      return checkImages(json, ["spec", "images"]);
    case "NodeSet":
      return [
        ...checkSelector(json, ["spec", "selector"]),
        ...checkSelector(json, ["spec", "strategy", "canary", "selector"]),
        ...checkStrategy(json),
        ...checkNodeSetRules(json),
      ];
    case "Rollout":
      return checkStrategy(json);
    case "MaintenanceWindow":
      return checkWindow(json);
    case "JoinToken":
      return checkExpiry(json);
    case "Cluster":
    case "Node":
    case "Repair":
      return [];
  }
}

const MAX_SYSCTLS = 1_000;

function checkSysctlSection(json: unknown): readonly Finding[] {
  const path = ["spec", "sysctl", "values"];
  const entries = Object.entries(mappingAt(json, path) ?? {});
  if (entries.length > MAX_SYSCTLS) {
    return [{ path, at: "key", message: `has ${entries.length} keys, more than the ${MAX_SYSCTLS} allowed`, hint: "" }];
  }
  const values: Record<string, string | number> = Object.create(null);
  for (const [key, value] of entries) {
    if (typeof value === "string" || Number.isSafeInteger(value)) values[key] = value as string | number;
  }
  return checkSysctls(values).map(({ key, message, hint }) => ({ path: [...path, key], at: "key", message, hint }));
}

function checkImagesSection(json: unknown): readonly Finding[] {
  const section = mappingAt(json, ["spec", "images"]);
  if (section === undefined) return [];
  if (section["lock"] === undefined && section["images"] === undefined) {
    const hint = "name an ImageLock by lock, list images, or leave the section out";
    return [{ path: ["spec", "images"], at: "key", message: "names no images", hint }];
  }
  return checkImages(json, ["spec", "images", "images"]);
}

function checkSelector(json: unknown, selector: Path): readonly Finding[] {
  const path = [...selector, "matchExpressions"];
  return (listAt(json, path) ?? []).flatMap((expression, index): Finding[] => {
    const operator = at(expression, ["operator"]);
    const values = at(expression, ["values"]);
    const count = Array.isArray(values) ? values.length : 0;
    if ((operator === "In" || operator === "NotIn") && count === 0) {
      return [
        { path: [...path, index], at: "value", message: `has operator ${operator} and no values`, hint: "give values, or use Exists" },
      ];
    }
    if ((operator === "Exists" || operator === "DoesNotExist") && count > 0) {
      const hint = `remove them, or use ${operator === "Exists" ? "In" : "NotIn"}`;
      return [{ path: [...path, index, "values"], at: "key", message: `must be absent with operator ${operator}`, hint }];
    }
    return [];
  });
}

const MAX_PROBE_TIMEOUT_MS = 60_000;

function checkProbes(json: unknown): readonly Finding[] {
  const path: Path = ["spec", "probes"];
  return [
    ...checkTwice(json, path, ["name"]),
    ...(listAt(json, path) ?? []).flatMap((probe, index) => [
      ...checkDuration(json, [...path, index, "timeout"], { minMs: 1, maxMs: MAX_PROBE_TIMEOUT_MS, why: "2s is the default" }),
      ...checkUrlWithoutSecrets(at(probe, ["http", "url"]), [...path, index, "http", "url"]),
    ]),
  ];
}

function checkExpiry(json: unknown): readonly Finding[] {
  const path: Path = ["spec", "expiresAt"];
  const value = at(json, path);
  if (typeof value !== "string" || !Number.isNaN(Date.parse(value))) return [];
  return [{ path, at: "value", message: "is no time", hint: "such as 2026-01-31T12:00:00Z" }];
}
