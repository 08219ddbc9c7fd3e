import { describe, expect, it } from "vitest";
import { type Failure, fingerprintsOf, names, stopOf } from "./failures.ts";
import type { RolloutInput } from "./model.ts";
import { nodeOf, NOW_MS, rolloutOf } from "./nodes-fixture.ts";

function failure(name: string, fingerprint?: string, reason = "Down"): Failure {
  const standing = { isOurs: true, isRetried: false, isRejoinDue: false, deadlineMs: NOW_MS, message: "" };
  return { node: nodeOf({ name }), standing: { is: "failed", ...standing, reason, fingerprint } };
}

function stop(failures: readonly Failure[], failureBudget = 0, known: readonly string[] = []): string | undefined {
  const input: RolloutInput = rolloutOf({ knownFingerprints: new Set(known) }, { failureBudget });
  const found = stopOf(failures, fingerprintsOf(failures, input), input);
  return found && `${found.reason}: ${found.message}`;
}

describe("what stops a rollout", () => {
  it.each<[string, readonly Failure[], number, readonly string[], string | undefined]>([
    ["no failure", [], 0, [], undefined],
    ["as many as are borne", [failure("a")], 1, [], undefined],
    ["one more than are borne", [failure("a"), failure("b")], 1, [], "FailureBudgetExceeded: 2 failed, 1 are borne: a, b"],
    [
      "a second alike, within the budget",
      [failure("a", "f"), failure("b", "f")],
      9,
      [],
      "SameNewFailure: a, b fail alike, as none did before: f",
    ],
    ["two alike that were known before", [failure("a", "f"), failure("b", "f")], 9, ["f"], undefined],
    ["two that differ", [failure("a", "f"), failure("b", "g")], 9, [], undefined],
    [
      "one that would disturb more than approved, within the budget",
      [failure("a"), failure("b", undefined, "ImpactExceeded")],
      9,
      [],
      "ImpactExceeded: what it would do to b disturbs more than was approved",
    ],
  ])("%s", (_case, failures, budget, known, wanted) => {
    expect(stop(failures, budget, known)).toBe(wanted);
  });
});

describe("fingerprints", () => {
  it("are told most nodes first, then by themselves, with who showed them and whether they are new", () => {
    const failures = [failure("a", "z"), failure("b", "y"), failure("c", "x"), failure("d", "y"), failure("e")];
    expect(fingerprintsOf(failures, rolloutOf({ knownFingerprints: new Set(["x"]) }))).toEqual([
      { fingerprint: "y", isNew: true, nodes: ["b", "d"] },
      { fingerprint: "x", isNew: false, nodes: ["c"] },
      { fingerprint: "z", isNew: true, nodes: ["a"] },
    ]);
  });
});

describe("names", () => {
  it("are five at most, and how many more", () => {
    expect(names([])).toBe("");
    expect(names(["a", "b", "c", "d", "e"])).toBe("a, b, c, d, e");
    expect(names(["a", "b", "c", "d", "e", "f", "g"])).toBe("a, b, c, d, e and 2 more");
  });
});
