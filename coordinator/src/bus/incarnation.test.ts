import { describe, expect, it } from "vitest";
import { resumeAt } from "./incarnation.ts";

describe("where reading goes on", () => {
  it.each([
    ["nothing logged yet", undefined, "A", 40, { incarnation: "A", sequence: 0 }],
    ["the same stream", { incarnation: "A", sequence: 7 }, "A", 40, { incarnation: "A", sequence: 7 }],
    ["the same stream with nothing new", { incarnation: "A", sequence: 40 }, "A", 40, { incarnation: "A", sequence: 40 }],
    ["a stream made anew", { incarnation: "A", sequence: 7 }, "B", 40, { incarnation: "B", sequence: 0 }],
    ["a stream that went backwards", { incarnation: "A", sequence: 50 }, "A", 40, { incarnation: "A#1", sequence: 0 }],
    ["one that went backwards before", { incarnation: "A#1", sequence: 39 }, "A", 40, { incarnation: "A#1", sequence: 39 }],
    ["one that goes backwards again", { incarnation: "A#1", sequence: 50 }, "A", 40, { incarnation: "A#2", sequence: 0 }],
  ])("after %s", (_case, after, created, last, expected) => {
    expect(resumeAt(after, created, last)).toEqual(expected);
  });
});
