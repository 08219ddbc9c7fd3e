/**
 * Whether nodes may begin to change now, by maintenance windows and their freezes, and when that changes. Pure.
 * Windows are written in local time: a start that a clock change skips is at the moment of the skip; one that comes twice is the first.
 */
import { type MaintenanceWindow, parseDurationMs } from "@drover/api";
import type { RolloutInput } from "./model.ts";

export interface Openness {
  readonly isOpen: boolean;
  /** For people. */
  readonly message: string;
  readonly reason: "Open" | "OutsideWindow" | "Frozen";
  /** When isOpen will be otherwise; undefined: never, or not within a year. */
  readonly nextChangeMs: number | undefined;
}

const DAY_MS = 86_400_000;
const HORIZON_MS = 366 * DAY_MS;
const MAX_MOMENTS = 4_000;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;

/** Open while at least one of the windows is, and none of them is frozen. No window at all: always. */
export function openness(windows: readonly MaintenanceWindow[], nowMs: number): Openness {
  const now = standing(windows, nowMs);
  let atMs = nowMs;
  for (let moments = 0; moments < MAX_MOMENTS; moments += 1) {
    const nextMs = nextMomentAfter(windows, atMs);
    if (nextMs === undefined || nextMs - nowMs > HORIZON_MS) break;
    atMs = nextMs;
    if (standing(windows, atMs).isOpen !== now.isOpen) return { ...now, nextChangeMs: atMs };
  }
  return { ...now, nextChangeMs: undefined };
}

/** As decide() takes it. @param names of the windows that the strategy asks for; one that does not exist opens never */
export function openingOf(
  names: readonly string[],
  windows: ReadonlyMap<string, MaintenanceWindow>,
  nowMs: number,
): RolloutInput["opening"] {
  const found = names.flatMap((name) => windows.get(name) ?? []);
  const missing = names.filter((name) => !windows.has(name));
  if (missing.length > 0 && found.length === 0) {
    const message = `MaintenanceWindow ${missing.join(", ")} does not exist; apply it: drover apply -f`;
    return { isOpen: false, reason: "OutsideWindow", message, opensAtMs: undefined };
  }
  const { isOpen, reason, message, nextChangeMs } = openness(found, nowMs);
  if (isOpen) return { isOpen, closesAtMs: nextChangeMs };
  return { isOpen, reason: reason === "Frozen" ? reason : "OutsideWindow", message, opensAtMs: nextChangeMs };
}

/** What a window shows of itself. */
export function windowStatus(window: MaintenanceWindow, nowMs: number): NonNullable<MaintenanceWindow["status"]> {
  const { isOpen, message, nextChangeMs } = openness([window], nowMs);
  return { open: isOpen, message, ...(nextChangeMs === undefined ? {} : { nextChange: new Date(nextChangeMs).toISOString() }) };
}

type Standing = Pick<Openness, "isOpen" | "message" | "reason">;

function standing(windows: readonly MaintenanceWindow[], atMs: number): Standing {
  if (windows.length === 0) return { isOpen: true, reason: "Open", message: "no maintenance window is asked for" };
  for (const { metadata, spec } of windows) {
    const freeze = spec.freezes?.find(({ from, to }) => Date.parse(from) <= atMs && atMs < Date.parse(to));
    if (freeze === undefined) continue;
    return {
      isOpen: false,
      reason: "Frozen",
      message: `MaintenanceWindow ${metadata.name} is frozen until ${freeze.to}: ${freeze.reason}`,
    };
  }
  const open = windows.find((window) => isOpenByWeek(window, atMs));
  if (open !== undefined) return { isOpen: true, reason: "Open", message: `MaintenanceWindow ${open.metadata.name} is open` };
  const names = windows.map(({ metadata }) => metadata.name).join(", ");
  return { isOpen: false, reason: "OutsideWindow", message: `MaintenanceWindow ${names} is closed` };
}

function isOpenByWeek(window: MaintenanceWindow, atMs: number): boolean {
  if (window.spec.weekly === undefined) return true;
  return spansAround(window, atMs).some(({ fromMs, toMs }) => fromMs <= atMs && atMs < toMs);
}

function nextMomentAfter(windows: readonly MaintenanceWindow[], atMs: number): number | undefined {
  let nextMs: number | undefined;
  const consider = (ms: number): void => {
    if (ms > atMs && (nextMs === undefined || ms < nextMs)) nextMs = ms;
  };
  for (const window of windows) {
    for (const { from, to } of window.spec.freezes ?? []) {
      consider(Date.parse(from));
      consider(Date.parse(to));
    }
    for (const { fromMs, toMs } of spansAround(window, atMs)) {
      consider(fromMs);
      consider(toMs);
    }
  }
  return nextMs;
}

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Every span that is open at this moment, was last or comes next: those that begin from 8 days before to 8 days after. */
function spansAround({ spec }: MaintenanceWindow, atMs: number): readonly Span[] {
  const zone = zoneOf(spec.timeZone);
  const today = Math.floor((atMs + offsetMs(zone, atMs)) / DAY_MS);
  const spans: Span[] = [];
  for (const { days, start, duration } of spec.weekly ?? []) {
    const [hours, minutes] = start.split(":").map(Number) as [number, number];
    for (let day = today - 8; day <= today + 8; day += 1) {
      // Day 0 was a Thursday.
      if (!days.includes(DAYS[(((day + 4) % 7) + 7) % 7]!)) continue;
      const fromMs = instantOf(zone, day * DAY_MS + (hours * 60 + minutes) * 60_000);
      spans.push({ fromMs, toMs: fromMs + parseDurationMs(duration) });
    }
  }
  return spans;
}

/** @param localMs what the wall clock shows, as if it were UTC */
function instantOf(zone: Intl.DateTimeFormat, localMs: number): number {
  const beforeMs = localMs - offsetMs(zone, localMs - DAY_MS);
  const afterMs = localMs - offsetMs(zone, localMs + DAY_MS);
  if (beforeMs === afterMs) return beforeMs;
  // A clock change is near. Of a time that comes twice the earlier instant is by the offset before it.
  for (const ms of [Math.min(beforeMs, afterMs), Math.max(beforeMs, afterMs)]) if (ms + offsetMs(zone, ms) === localMs) return ms;
  return changeBetween(zone, localMs - DAY_MS, localMs + DAY_MS);
}

/** The moment of the one clock change between the two. */
function changeBetween(zone: Intl.DateTimeFormat, fromMs: number, toMs: number): number {
  const offset = offsetMs(zone, fromMs);
  let [low, high] = [Math.floor(fromMs / 1000), Math.ceil(toMs / 1000)];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetMs(zone, middle * 1000) === offset) low = middle;
    else high = middle;
  }
  return high * 1000;
}

/** How far the wall clock there is ahead of UTC. */
function offsetMs(zone: Intl.DateTimeFormat, atMs: number): number {
  const parts = new Map(zone.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]));
  const part = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? 0;
  const shownMs = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return shownMs - Math.floor(atMs / 1000) * 1000;
}

const zones = new Map<string, Intl.DateTimeFormat>();

/** A zone that this machine does not know is taken as UTC: validation has refused it before. */
function zoneOf(timeZone: string): Intl.DateTimeFormat {
  let zone = zones.get(timeZone);
  if (zone === undefined) zones.set(timeZone, (zone = formatOf(timeZone)));
  return zone;
}

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const fields = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" } as const;
  try {
    return new Intl.DateTimeFormat("en-US", { ...fields, timeZone, hourCycle: "h23" });
  } catch {
    return new Intl.DateTimeFormat("en-US", { ...fields, timeZone: "UTC", hourCycle: "h23" });
  }
}
