/** Maintenance windows beyond their shape: time zones that exist, spans that end, windows that can open at all. */
import { didYouMean } from "./nearest.ts";
import type { Finding, Path } from "./problems.ts";
import { at, listAt } from "./raw.ts";
import { checkDuration, checkTwice } from "./strategy-rules.ts";

const WEEK_MS = 7 * 86_400_000;

export function checkWindow(json: unknown): readonly Finding[] {
  return [...checkTimeZone(json), ...checkWeekly(json), ...checkFreezes(json)];
}

function checkTimeZone(json: unknown): readonly Finding[] {
  const path: Path = ["spec", "timeZone"];
  const value = at(json, path);
  if (typeof value !== "string" || value === "" || isKnown(value)) return [];
  const hint = didYouMean(value, [...Intl.supportedValuesOf("timeZone"), "UTC"], "an IANA name such as Europe/Berlin, or UTC");
  return [{ path, at: "value", message: `is ${JSON.stringify(value)}, which is no time zone`, hint }];
}

/** Offsets are none: they know no summer time. */
function isKnown(timeZone: string): boolean {
  if (/^[+-]/.test(timeZone)) return false;
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

function checkWeekly(json: unknown): readonly Finding[] {
  const path: Path = ["spec", "weekly"];
  const entries = listAt(json, path);
  if (entries?.length === 0) {
    return [{ path, at: "value", message: "is empty, so that it would never open", hint: "leave it out for always, or say when" }];
  }
  return (entries ?? []).flatMap((_, index): readonly Finding[] => [
    ...checkDuration(json, [...path, index, "duration"], { minMs: 60_000, maxMs: WEEK_MS }),
    ...checkTwice(json, [...path, index, "days"]),
  ]);
}

function checkFreezes(json: unknown): readonly Finding[] {
  const path: Path = ["spec", "freezes"];
  return (listAt(json, path) ?? []).flatMap((freeze, index): Finding[] => {
    const [from, to] = [at(freeze, ["from"]), at(freeze, ["to"])];
    if (typeof from !== "string" || typeof to !== "string" || !(Date.parse(to) <= Date.parse(from))) return [];
    const message = `is ${to}, which is not after ${from}, where it begins`;
    return [{ path: [...path, index, "to"], at: "value", message, hint: "give a time after from" }];
  });
}
