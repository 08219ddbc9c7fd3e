import { describe, expect, it } from "vitest";
import { formatProblem, parseManifests } from "./index.ts";

const lines = (text: string): string[] => {
  const parsing = parseManifests(text, "x.yaml");
  return parsing.ok ? [] : parsing.problems.map(formatProblem);
};
const head = (kind: string, spec: string): string =>
  `apiVersion: drover.dev/v1alpha1\nkind: ${kind}\nmetadata: { name: x }\nspec:\n${spec}`;
const set = (rest: string): string => head("NodeSet", `  selector: { matchLabels: { a: b } }\n  profile: p\n${rest}`);
const strategy = (fields: string): string => set(`  strategy: { ${fields} }\n`);
const probes = (...entries: string[]): string => head("NodeProfile", `  probes:\n${entries.map((entry) => `    - ${entry}\n`).join("")}`);

describe("what a NodeSet says of its rollouts", () => {
  it.each([
    ["waves that fall", strategy("waves: [10, 5]"), "7:27", "waves[1]: is 5, and must be more than the 10 before it"],
    ["waves that stand", strategy("waves: [5%, 5%]"), "7:27", "must be more than the 5% before it"],
    ["percentages that fall behind a number", strategy("waves: [50%, 100, 20%]"), "7:33", "must be more than the 50% before it"],
    ["a wave after all", strategy("waves: [100%, 500]"), "7:29", "comes after 100%"],
    [
      "the same budget twice",
      strategy("budgets: [{ topologyKey: zone }, { topologyKey: zone }]"),
      "7:63",
      "budgets[1].topologyKey: is zone once more",
    ],
    ["a budget of all", strategy("budgets: [{ topologyKey: zone, maxUnavailable: 100% }]"), "7:62", "bounds nothing"],
    [
      "an approval beyond the waves",
      strategy("waves: [5%], canary: {}, approvals: [1, 4]"),
      "7:55",
      "is wave 4, and there are 3 at most: the canary, the waves and the rest",
    ],
    ["an approval twice", strategy("waves: [5%], approvals: [1, 1]"), "7:43", "is 1 once more"],
    ["a password in a webhook", strategy("gates: { webhook: { url: https://u:p@x/ } }"), "7:40", "no place for secrets"],
    ["a webhook that takes for ever", strategy("gates: { webhook: { url: https://x/, timeout: 1h } }"), "7:61", "longer than 5 minutes"],
    ["a confirm deadline that is too short", strategy("confirmDeadline: 5s"), "7:32", "must be at least 10 seconds"],
    ["a confirm deadline that is too long", strategy("confirmDeadline: 2h"), "7:32", "longer than 1 hour"],
    ["a drain without time", strategy("drain: { deadline: 0s }"), "7:34", "must be at least 1 second"],
    ["an order with one value twice", strategy("order: { key: role, values: [a, b, a] }"), "7:50", "is a once more"],
    [
      "a canary's odd selector",
      strategy("canary: { selector: { matchExpressions: [{ key: a, operator: In }] } }"),
      "7:56",
      "has operator In and no values",
    ],
    ["a set after itself", set("  after: [x]\n"), "7:11", "is the set itself"],
    ["a set after another twice", set("  after: [a, a]\n"), "7:14", "is a once more"],
    ["a rung twice", set("  remediation: { rungs: [Reapply, Reapply] }\n"), "7:35", "is Reapply once more"],
    ["illness of a second", set("  remediation: { unhealthyFor: 1s }\n"), "7:32", "must be at least 1 minute"],
    ["a probe twice", probes("{ name: a, tcp: { port: 1 } }", "{ name: a, tcp: { port: 2 } }"), "7:15", "probes[1].name: is a once more"],
    ["a probe with a password", probes("{ name: a, http: { url: http://u@x/ } }"), "6:31", "no place for secrets"],
    ["a probe that waits for ever", probes("{ name: a, tcp: { port: 1 }, timeout: 5m }"), "6:45", "longer than 1 minute"],
    ["a probe of nothing", probes("{ name: a }"), "6:7", "must have either http or tcp"],
  ])("refuses %s, with its place", (_what, text, place, message) => {
    const found = lines(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(`x.yaml:${place}: `);
    expect(found[0]).toContain(message);
  });

  it("takes all of it together where it makes sense, also a canary larger than the set and numbers beside percentages", () => {
    const fields = [
      "maxUnavailable: 10%, canary: { nodes: 500, selector: { matchLabels: { canary: yes-please } }, soak: 1h }, waves: [5, 10%, 50, 50%]",
      "budgets: [{ topologyKey: zone, maxUnavailable: 20% }, { topologyKey: rack }], exclusive: zone, approvals: [1, 6]",
      "order: { key: role, values: [db, web] }, windows: [night], drain: { from: restart }, confirmDeadline: 10s",
      "gates: { conditions: [Ready], webhook: { url: 'https://gate.example/ask' } }",
    ];
    expect(lines(strategy(fields.join(", ")))).toEqual([]);
  });
});

const window = (rest: string): string => head("MaintenanceWindow", rest);

describe("a MaintenanceWindow", () => {
  it.each([
    ["a time zone nobody knows", window("  timeZone: Europe/Berln\n"), "5:13", "did you mean Europe/Berlin?"],
    ["an offset for a time zone", window('  timeZone: "+02:00"\n'), "5:13", "which is no time zone"],
    ["a week without a day", window("  timeZone: UTC\n  weekly: []\n"), "6:11", "would never open"],
    [
      "more than a week",
      window("  timeZone: UTC\n  weekly: [{ days: [Mon], start: '22:00', duration: 8d }]\n"),
      "6:53",
      "longer than 7 days",
    ],
    [
      "no time at all",
      window("  timeZone: UTC\n  weekly: [{ days: [Mon], start: '22:00', duration: 0s }]\n"),
      "6:53",
      "must be at least 1 minute",
    ],
    [
      "a day twice",
      window("  timeZone: UTC\n  weekly: [{ days: [Mon, Mon], start: '22:00', duration: 1h }]\n"),
      "6:26",
      "is Mon once more",
    ],
    [
      "a time of day that is none",
      window("  timeZone: UTC\n  weekly: [{ days: [Mon], start: '25:00', duration: 1h }]\n"),
      "6:34",
      "must be a time of day such as 22:30",
    ],
    [
      "a freeze that ends before it begins",
      window("  timeZone: UTC\n  freezes: [{ from: '2026-12-24T00:00:00Z', to: '2026-12-24T01:00:00+01:00', reason: x }]\n"),
      "6:49",
      "is not after 2026-12-24T00:00:00Z",
    ],
  ])("refuses %s, with its place", (_what, text, place, message) => {
    const found = lines(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(`x.yaml:${place}: `);
    expect(found[0]).toContain(message);
  });

  it("takes links of zone names and a week that goes past midnight", () => {
    const text = "  timeZone: US/Eastern\n  weekly: [{ days: [Sat, Sun], start: '22:30', duration: 12h }]\n";
    expect(lines(window(text))).toEqual([]);
  });
});
