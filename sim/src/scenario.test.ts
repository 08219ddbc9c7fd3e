import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatProblem } from "@drover/api";
import { afterEach, describe, expect, it } from "vitest";
import { readScenario } from "./scenario.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function written(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "scenario-"));
  folders.push(folder);
  const path = join(folder, "s.yaml");
  writeFileSync(path, text);
  return path;
}

function problemsOf(text: string, flags: Readonly<Record<string, unknown>> = {}): string[] {
  const path = written(text);
  const reading = readScenario(path, flags);
  return reading.ok ? [] : reading.problems.map((problem) => formatProblem(problem).replace(path, "s.yaml"));
}

describe("a scenario", () => {
  it("is a file, and flags that count more", () => {
    const path = written("agents: 100\nfor: 2m\nchangesPerMinute: 2%\nfaults:\n  - { do: silence, at: 5s, share: 1% }\n");
    const reading = readScenario(path, { agents: 7, seed: undefined });
    expect(reading).toMatchObject({
      ok: true,
      scenario: {
        agents: 7,
        for: 120_000,
        seed: 1,
        tier: "logical",
        changesPerMinute: 0.02,
        faults: [{ do: "silence", at: 5_000, share: 0.01 }],
      },
    });
  });

  it("tells everything that is wrong at once, with file, line and column", () => {
    const problems = problemsOf("agents: 0\ntier: rocket\nfaluts: []\nfaults:\n  - do: lag\n    at: soon\n    agents: [1]\n");
    expect(problems.map((problem) => problem.split(": ").slice(0, 2).join(": "))).toEqual([
      "s.yaml:1:9: agents",
      "s.yaml:2:7: tier",
      "s.yaml:3:1: faluts",
      "s.yaml:5:5: faults[0]",
      "s.yaml:6:9: faults[0].at",
    ]);
  });

  it.each([
    ["a fault of nobody", "{ do: silence, at: 1s }", "must say whom"],
    ["a fault of two kinds of whom", "{ do: silence, at: 1s, share: 1%, agents: [1] }", "must say whom"],
    ["a lag of no length", "{ do: lag, at: 1s, share: 1% }", "must say by how much"],
    ["a clone that goes away", "{ do: duplicate, at: 1s, for: 2s, agents: [1] }", "must not end"],
  ])("refuses %s", (_case, fault, words) => {
    expect(problemsOf(`agents: 10\nfaults:\n  - ${fault}\n`).join()).toContain(words);
  });

  it("names the command line where a flag is wrong, and the file that is not there", () => {
    expect(problemsOf("agents: 10\n", { heartbeatInterval: "never" }).join()).toMatch(
      /^the command line: heartbeatInterval: must be a duration/,
    );
    expect(readScenario("/nowhere/s.yaml", {})).toMatchObject({ ok: false, problems: [{ file: "/nowhere/s.yaml" }] });
  });
});
