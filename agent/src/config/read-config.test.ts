import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { parseConfig, readConfig } from "./read-config.ts";

const PIN = `sha256:${"ab".repeat(32)}`;
const VALID = `coordinator: coordinator.example:7443\ncaPin: ${PIN}\n`;

function problems(text: string): readonly string[] {
  const reading = parseConfig(text, "agent.yaml");
  return reading.isValid ? [] : reading.problems;
}

describe("a valid agent.yaml", () => {
  test("needs an endpoint and a pin only, and gets every default", () => {
    const reading = parseConfig(VALID, "agent.yaml");
    expect(reading).toEqual({
      isValid: true,
      config: {
        coordinator: "coordinator.example:7443",
        caPin: PIN,
        joinTokenFile: "/etc/drover/join-token",
        stateDir: "/var/lib/drover-agent",
        containerdAddress: "/run/containerd/containerd.sock",
        logLevel: "info",
        intervals: { poll: 600_000, driftScan: 600_000 },
      },
    });
    expect(reading.isValid && Object.isFrozen(reading.config.intervals)).toBe(true);
  });

  test("takes every key", () => {
    const text = `${VALID}joinTokenFile: /run/token\nstateDir: /var/lib/x\ncontainerdAddress: /run/c.sock
name: pm-17.rack-3\nlogLevel: debug\nintervals:\n  poll: 1m30s\n  driftScan: 500ms\n`;
    const reading = parseConfig(text, "agent.yaml");
    expect(reading.isValid && reading.config).toMatchObject({
      name: "pm-17.rack-3",
      intervals: { poll: 90_000, driftScan: 500 },
    });
  });

  test.each(["[::1]:7443", "10.0.0.1:1", "c:65535"])("takes %s as an endpoint", (endpoint) => {
    expect(problems(`coordinator: "${endpoint}"\ncaPin: ${PIN}\n`)).toEqual([]);
  });
});

describe("twenty bad agent.yaml, each named at its line and column", () => {
  const wrong: readonly (readonly [string, string, readonly (string | RegExp)[]])[] = [
    ["an empty file", "", [/^agent.yaml:1:1: coordinator: is missing: it must be text/, /^agent.yaml:1:1: caPin: is missing/]],
    ["a list", "- a\n", [/^agent.yaml:1:1: agent.yaml: must be a mapping/]],
    ["a scalar", "hello\n", [/^agent.yaml:1:1: agent.yaml: must be a mapping/]],
    ["broken YAML", `${VALID}name: "open\n`, [/^agent.yaml:\d+:\d+: Missing closing/]],
    ["a tab as indentation", `${VALID}intervals:\n\tpoll: 1m\n`, [/^agent.yaml:\d:\d+: Tabs are not allowed/]],
    ["a key twice", `${VALID}name: a\nname: b\n`, [/^agent.yaml:4:1: Map keys must be unique/]],
    ["two documents", `${VALID}---\n${VALID}`, [/^agent.yaml:3:1: Source contains multiple documents/]],
    ["a misspelt key", `${VALID}statedir: /x\n`, [/^agent.yaml:3:1: agent.yaml: has no key "statedir"; did you mean stateDir\?/]],
    ["an unknown key", `${VALID}labels: {}\n`, [/^agent.yaml:3:1: agent.yaml: has no key "labels"; known are/]],
    ["an endpoint without a port", `coordinator: a.example\ncaPin: ${PIN}\n`, [/^agent.yaml:1:14: coordinator: must be a host and a port/]],
    ["an endpoint with a scheme", `coordinator: https://a:1\ncaPin: ${PIN}\n`, [/^agent.yaml:1:14: coordinator: must be/]],
    ["a port above 65535", `coordinator: a:70000\ncaPin: ${PIN}\n`, [/^agent.yaml:1:14: coordinator: must be/]],
    ["a number as endpoint", `coordinator: 7443\ncaPin: ${PIN}\n`, [/^agent.yaml:1:14: coordinator: must be text/]],
    ["a pin cut short", "coordinator: a:1\ncaPin: sha256:abcd\n", [/^agent.yaml:2:8: caPin: must be "sha256:" and 64/]],
    ["a pin without its kind", `coordinator: a:1\ncaPin: ${"ab".repeat(32)}\n`, [/^agent.yaml:2:8: caPin: must be "sha256:"/]],
    ["a relative path", `${VALID}stateDir: var/lib\n`, [/^agent.yaml:3:11: stateDir: must be an absolute path/]],
    ["a path that climbs", `${VALID}stateDir: /var/../etc\n`, [/^agent.yaml:3:11: stateDir: must be an absolute path/]],
    ["the root as state", `${VALID}stateDir: /\n`, [/^agent.yaml:3:11: stateDir: must be an absolute path/]],
    ["an unknown level", `${VALID}logLevel: loud\n`, [/^agent.yaml:3:11: logLevel: must be one of trace, debug/]],
    ["a duration without unit", `${VALID}intervals:\n  poll: 10\n`, [/^agent.yaml:4:9: intervals.poll: must be a duration/]],
    ["a duration that is none", `${VALID}intervals:\n  poll: soon\n`, [/^agent.yaml:4:9: intervals.poll: must be a duration/]],
    ["a duration too short", `${VALID}intervals:\n  poll: 1ms\n`, [/^agent.yaml:4:9: intervals.poll: must be between 100 ms and 24h/]],
    ["a duration too long", `${VALID}intervals:\n  driftScan: 2d\n`, [/^agent.yaml:4:14: intervals.driftScan: must be between/]],
    ["intervals as text", `${VALID}intervals: 10m\n`, [/^agent.yaml:3:12: intervals: must be a mapping/]],
    ["an unknown interval", `${VALID}intervals:\n  pol: 1m\n`, [/^agent.yaml:4:3: intervals: has no key "pol"; did you mean poll/]],
    ["a name with a blank", `${VALID}name: a b\n`, [/^agent.yaml:3:7: name: must be 1 to 253/]],
  ];

  test.each(wrong)("%s", (_what, text, expected) => {
    const found = problems(text);
    expect(found).toHaveLength(expected.length);
    expected.forEach((pattern, index) => expect(found[index]).toMatch(pattern));
  });

  test("several problems come at once, in the order of the file", () => {
    const found = problems("coordinator: nowhere\ncaPin: x\nlogLevel: loud\nintervals:\n  poll: 1\n  foo: 1s\n");
    expect(found.map((line) => line.split(" ", 1)[0])).toEqual([
      "agent.yaml:1:14:",
      "agent.yaml:2:8:",
      "agent.yaml:3:11:",
      "agent.yaml:5:9:",
      "agent.yaml:6:3:",
    ]);
  });
});

describe("reading the file", () => {
  let directory: string | undefined;
  afterEach(async () => {
    if (directory !== undefined) await rm(directory, { recursive: true });
    directory = undefined;
  });

  test("an absent file and a directory are problems, not crashes", async () => {
    directory = await mkdtemp(join(tmpdir(), "drover-config-"));
    expect(await readConfig(join(directory, "none.yaml"))).toMatchObject({
      isValid: false,
      problems: [expect.stringMatching(/ENOENT.*--config/)],
    });
    expect(await readConfig(directory)).toMatchObject({ isValid: false });
    await writeFile(join(directory, "agent.yaml"), VALID);
    expect(await readConfig(join(directory, "agent.yaml"))).toMatchObject({ isValid: true });
  });
});
