import type { MaintenanceWindow } from "@drover/api";
import { describe, expect, it } from "vitest";
import { openingOf, openness, windowStatus } from "./opening.ts";

const window = (spec: Partial<MaintenanceWindow["spec"]>, name = "night"): MaintenanceWindow => ({
  apiVersion: "drover.dev/v1alpha1",
  kind: "MaintenanceWindow",
  metadata: { name },
  spec: { timeZone: "Europe/Berlin", ...spec },
});
const nightly = (start: string, duration: string) => ({
  weekly: [
    {
      days: ["Mon" as const, "Tue" as const, "Wed" as const, "Thu" as const, "Fri" as const, "Sat" as const, "Sun" as const],
      start,
      duration,
    },
  ],
});
const at = (text: string): number => Date.parse(text);
const told = (windows: readonly MaintenanceWindow[], text: string): string => {
  const { isOpen, nextChangeMs } = openness(windows, at(text));
  return `${isOpen ? "open" : "closed"} until ${nextChangeMs === undefined ? "ever" : new Date(nextChangeMs).toISOString().slice(0, 16)}`;
};

describe("a maintenance window", () => {
  it("is open from its start for its duration, in its own zone, past midnight too", () => {
    const night = [window(nightly("22:30", "4h"))];
    expect(told(night, "2026-01-10T21:29:59Z")).toBe("closed until 2026-01-10T21:30");
    expect(told(night, "2026-01-10T21:30:00Z")).toBe("open until 2026-01-11T01:30");
    expect(told(night, "2026-01-11T01:30:00Z")).toBe("closed until 2026-01-11T21:30");
    // In summer the same wall clock is another hour of UTC.
    expect(told(night, "2026-07-10T20:30:00Z")).toBe("open until 2026-07-11T00:30");
  });

  it("knows its days by the local calendar", () => {
    const saturday = [window({ timeZone: "Pacific/Auckland", weekly: [{ days: ["Sat"], start: "00:30", duration: "1h" }] })];
    // 2026-06-06 is a Saturday; in Auckland (UTC+12) it begins on Friday noon.
    expect(told(saturday, "2026-06-05T12:29:00Z")).toBe("closed until 2026-06-05T12:30");
    expect(told(saturday, "2026-06-05T13:00:00Z")).toBe("open until 2026-06-05T13:30");
    expect(told(saturday, "2026-06-05T14:00:00Z")).toBe("closed until 2026-06-12T12:30");
  });

  it("begins when the clock jumps over its start in spring, and lasts as long as it says", () => {
    const early = [window(nightly("02:30", "2h"))];
    expect(told(early, "2026-03-28T00:00:00Z")).toBe("closed until 2026-03-28T01:30");
    // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
    expect(told(early, "2026-03-29T00:59:00Z")).toBe("closed until 2026-03-29T01:00");
    expect(told(early, "2026-03-29T01:00:00Z")).toBe("open until 2026-03-29T03:00");
  });

  it("begins once when the clock shows its start twice in autumn, the first time", () => {
    const early = [window(nightly("02:30", "30m"))];
    // 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC; 02:30 is 00:30 and 01:30 UTC.
    expect(told(early, "2026-10-25T00:00:00Z")).toBe("closed until 2026-10-25T00:30");
    expect(told(early, "2026-10-25T00:45:00Z")).toBe("open until 2026-10-25T01:00");
    expect(told(early, "2026-10-25T01:35:00Z")).toBe("closed until 2026-10-26T01:30");
  });

  it("is closed by a freeze whatever the week says, and opens after it", () => {
    const freezes = [{ from: "2026-12-24T00:00:00+01:00", to: "2027-02-02T00:00:00+01:00", reason: "year's end" }];
    const night = window({ ...nightly("22:00", "2h"), freezes });
    expect(openness([night], at("2026-12-25T21:30:00Z"))).toMatchObject({
      isOpen: false,
      reason: "Frozen",
      nextChangeMs: at("2027-02-02T21:00:00Z"),
    });
    expect(told([window({ freezes })], "2026-12-01T00:00:00Z")).toBe("open until 2026-12-23T23:00");
    // The freeze begins in the middle of a window.
    const late = window({ ...nightly("23:00", "2h"), freezes });
    expect(told([late], "2026-12-23T22:30:00Z")).toBe("open until 2026-12-23T23:00");
  });

  it("that begins where another ends is no change, and one a week long never closes", () => {
    const two = [window(nightly("22:00", "2h")), window(nightly("00:00", "3h"), "late")];
    expect(told(two, "2026-01-10T21:30:00Z")).toBe("open until 2026-01-11T02:00");
    expect(told([window({ weekly: [{ days: ["Mon"], start: "00:00", duration: "7d" }], timeZone: "UTC" })], "2026-01-10T21:30:00Z")).toBe(
      "open until ever",
    );
  });

  it("freezes the others of the same strategy, because a freeze is never meant to be got around", () => {
    const frozen = window({ freezes: [{ from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z", reason: "audit" }] }, "audit");
    expect(openness([window({}), frozen], at("2026-01-10T00:00:00Z"))).toMatchObject({ isOpen: false, reason: "Frozen" });
  });

  it("shows itself, and what decide() takes", () => {
    const night = window(nightly("22:00", "2h"));
    expect(windowStatus(night, at("2026-01-10T20:00:00Z"))).toEqual({
      open: false,
      message: "MaintenanceWindow night is closed",
      nextChange: "2026-01-10T21:00:00.000Z",
    });
    const all = new Map([["night", night]]);
    expect(openingOf([], all, 0)).toEqual({ isOpen: true, closesAtMs: undefined });
    expect(openingOf(["night"], all, at("2026-01-10T20:00:00Z"))).toMatchObject({
      isOpen: false,
      reason: "OutsideWindow",
      opensAtMs: at("2026-01-10T21:00:00Z"),
    });
    expect(openingOf(["day"], all, 0)).toMatchObject({
      isOpen: false,
      message: expect.stringContaining("MaintenanceWindow day does not exist"),
    });
    expect(openingOf(["night", "day"], all, at("2026-01-10T21:30:00Z"))).toMatchObject({ isOpen: true });
  });
});
