/** What a NodeSet says of its rollouts and repairs, beyond its shape: numbers that contradict each other, names told twice, times out of range. */
import { parseDurationMs } from "./duration.ts";
import type { Finding, Path } from "./problems.ts";
import { at, listAt } from "./raw.ts";

const STRATEGY: Path = ["spec", "strategy"];
const DURATION = /^(\d+(ms|s|m|h|d))+$/;
const DAY_MS = 86_400_000;

/** Every duration of the strategy: from and to inclusive, Unix milliseconds. */
const DURATIONS: readonly { readonly field: Path; readonly minMs?: number; readonly maxMs?: number; readonly why?: string }[] = [
  { field: ["soak"] },
  {
    field: ["progressDeadline"],
    minMs: 1,
    why: "every node would count as failed at once; 10m is the default",
  },
  { field: ["canary", "soak"] },
  { field: ["drain", "deadline"], minMs: 1_000, why: "no drain could end; 10m is the default" },
  { field: ["drain", "revisitAfter"], minMs: 1_000, why: "it would be tried without a rest; 5m is the default" },
  { field: ["gates", "webhook", "timeout"], minMs: 1, maxMs: 300_000, why: "10s is the default" },
  {
    field: ["confirmDeadline"],
    minMs: 10_000,
    maxMs: 3_600_000,
    why: "shorter than a service takes to start undoes good changes, longer leaves a node cut off; 2m is the default",
  },
];

export function checkStrategy(json: unknown): readonly Finding[] {
  return [
    ...DURATIONS.flatMap(({ field, ...bounds }) => checkDuration(json, [...STRATEGY, ...field], bounds)),
    ...checkWaves(json),
    ...checkBudgets(json),
    ...checkTwice(json, [...STRATEGY, "order", "values"]),
    ...checkTwice(json, [...STRATEGY, "windows"]),
    ...checkApprovals(json),
    ...checkWebhook(json),
  ];
}

/** remediation and after. */
export function checkNodeSetRules(json: unknown): readonly Finding[] {
  return [
    ...checkTwice(json, ["spec", "remediation", "rungs"]),
    ...checkTwice(json, ["spec", "after"]),
    ...checkOwnName(json),
    ...checkDuration(json, ["spec", "remediation", "unhealthyFor"], {
      minMs: 60_000,
      why: "a restart must not count as illness; 10m is the default",
    }),
  ];
}

export function checkDuration(
  json: unknown,
  path: Path,
  { minMs = 0, maxMs = 30 * DAY_MS, why = "" }: { readonly minMs?: number; readonly maxMs?: number; readonly why?: string },
): readonly Finding[] {
  const value = at(json, path);
  if (typeof value !== "string" || !DURATION.test(value)) return [];
  const durationMs = parseDurationMs(value);
  if (durationMs < minMs) {
    const message = minMs === 1 ? "must be longer than 0" : `is ${value}, and must be at least ${text(minMs)}`;
    return [{ path, at: "value", message, hint: why }];
  }
  if (durationMs > maxMs) return [{ path, at: "value", message: `is ${value}, longer than ${text(maxMs)}`, hint: why }];
  return [];
}

function text(ms: number): string {
  const units: readonly (readonly [number, string])[] = [
    [DAY_MS, "day"],
    [3_600_000, "hour"],
    [60_000, "minute"],
    [1_000, "second"],
  ];
  const [size, unit] = units.find(([each]) => ms >= each && ms % each === 0) ?? [1, "millisecond"];
  return `${ms / size} ${unit}${ms === size ? "" : "s"}`;
}

/** A number and a percentage cannot be compared before the set's size is known: each kind rises by itself, and 100 % ends it. */
function checkWaves(json: unknown): readonly Finding[] {
  const path: Path = [...STRATEGY, "waves"];
  const findings: Finding[] = [];
  const highest = { nodes: 0, percent: 0 };
  for (const [index, wave] of (listAt(json, path) ?? []).entries()) {
    const unit = typeof wave === "number" ? "nodes" : "percent";
    const reach = typeof wave === "number" ? wave : typeof wave === "string" && /^\d+%$/.test(wave) ? Number.parseInt(wave, 10) : undefined;
    if (reach === undefined) continue;
    const here: Path = [...path, index];
    if (highest.percent >= 100) {
      findings.push({ path: here, at: "value", message: "comes after 100%, which is the whole set already", hint: "take it out" });
    } else if (reach <= highest[unit]) {
      const sign = unit === "percent" ? "%" : "";
      findings.push({
        path: here,
        at: "value",
        message: `is ${reach}${sign}, and must be more than the ${highest[unit]}${sign} before it`,
        hint: "waves are cumulative: each says how far the rollout reaches, not how many nodes it adds",
      });
    }
    highest[unit] = Math.max(highest[unit], reach);
  }
  return findings;
}

function checkBudgets(json: unknown): readonly Finding[] {
  const path: Path = [...STRATEGY, "budgets"];
  const all = (listAt(json, path) ?? []).flatMap((budget, index): Finding[] => {
    if (at(budget, ["maxUnavailable"]) !== "100%") return [];
    const hint = "take the budget out, or give a number or a smaller percentage";
    return [{ path: [...path, index, "maxUnavailable"], at: "value", message: "is 100%, which bounds nothing", hint }];
  });
  return [...all, ...checkTwice(json, path, ["topologyKey"])];
}

/** Canary, waves and the rest are all there can be. */
function checkApprovals(json: unknown): readonly Finding[] {
  const path: Path = [...STRATEGY, "approvals"];
  const waves = listAt(json, [...STRATEGY, "waves"]) ?? [];
  const hasCanary = at(json, [...STRATEGY, "canary"]) !== undefined;
  const last = waves.filter((wave) => wave !== "100%").length + (hasCanary ? 1 : 0) + 1;
  const beyond = (listAt(json, path) ?? []).flatMap((wave, index): Finding[] => {
    if (typeof wave !== "number" || wave <= last) return [];
    const made = `${hasCanary ? "the canary, " : ""}${waves.length === 0 ? "" : "the waves and "}the rest`;
    const message = `is wave ${wave}, and there are ${last} at most: ${made}`;
    return [{ path: [...path, index], at: "value", message, hint: "waves are counted from 1; the canary is wave 1 where there is one" }];
  });
  return [...beyond, ...checkTwice(json, path)];
}

function checkWebhook(json: unknown): readonly Finding[] {
  const path: Path = [...STRATEGY, "gates", "webhook", "url"];
  return checkUrlWithoutSecrets(at(json, path), path);
}

/** A manifest is read by many, and what a gate asks with is shown. */
export function checkUrlWithoutSecrets(value: unknown, path: Path): readonly Finding[] {
  if (typeof value !== "string" || !URL.canParse(value)) return [];
  const { username, password } = new URL(value);
  if (username === "" && password === "") return [];
  const hint = "let the address itself be allowed to ask, for instance by network policy";
  return [{ path, at: "value", message: "has a user or password in it, and manifests are no place for secrets", hint }];
}

function checkOwnName(json: unknown): readonly Finding[] {
  const name = at(json, ["metadata", "name"]);
  const path: Path = ["spec", "after"];
  const index = (listAt(json, path) ?? []).indexOf(name);
  if (index < 0 || name === undefined) return [];
  return [{ path: [...path, index], at: "value", message: "is the set itself, which would wait for ever", hint: "take it out" }];
}

/** @param field of each entry; left out: the entry itself */
export function checkTwice(json: unknown, path: Path, field: Path = []): readonly Finding[] {
  const first = new Map<unknown, number>();
  return (listAt(json, path) ?? []).flatMap((entry, index): Finding[] => {
    const value = at(entry, field);
    if (typeof value !== "string" && typeof value !== "number") return [];
    const before = first.get(value);
    if (before === undefined) {
      first.set(value, index);
      return [];
    }
    const message = `is ${value} once more, as entry ${before + 1} is`;
    return [{ path: [...path, index, ...field], at: "value", message, hint: "take one of them out" }];
  });
}
