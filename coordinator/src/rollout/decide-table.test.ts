/**
 * What decide() says of every kind of node beside two plain neighbours (a is to be moved, c is done), under every kind of rollout. Recorded, grouped by what
 * is said, so that whatever a change of decide() changes shows: read the difference, do not only record it anew. Why it is right the laws and stories say.
 */
import { describe, expect, it } from "vitest";
import { decideAfresh } from "./decide.ts";
import type { Decision, FleetNode, ResolvedStrategy, RolloutInput } from "./model.ts";
import { circumstances, nodeOf, NOW_MS, plans, rolloutOf } from "./nodes-fixture.ts";

const CANARY: Partial<ResolvedStrategy> = { canary: { nodes: 1, soakMs: 200_000, prefers: ({ first }) => first !== undefined } };
const rollouts: Readonly<Record<string, readonly [Partial<RolloutInput>, Partial<ResolvedStrategy>]>> = {
  plain: [{}, {}],
  "two at once, soaking": [{}, { maxUnavailable: 2, soakMs: 200_000, failureBudget: 1 }],
  "with a canary": [{}, { ...CANARY, maxUnavailable: 2 }],
  "in waves with approvals": [{}, { waves: [1, 2], approvals: new Set([2, 9]), maxUnavailable: 3, failureBudget: 3 }],
  "in waves, promoted, asking a webhook": [{ promotedWave: 1 }, { waves: [2], soakMs: 200_000, hasWebhook: true, maxUnavailable: 3 }],
  "in waves, let pass by a webhook": [
    { waveGates: new Map([[1, { isPassed: true, message: "200", atMs: 0 }]]) },
    { waves: [1], hasWebhook: true, maxUnavailable: 3 },
  ],
  "all at once": [{}, { isAll: true, maxUnavailable: 3 }],
  "all at once, confirmed": [{ confirmedNodes: 3 }, { isAll: true, maxUnavailable: 3 }],
  paused: [{ isPaused: true }, { maxUnavailable: 3 }],
  aborted: [{ isAborted: true }, { maxUnavailable: 3 }],
  retried: [{ retriedAtMs: NOW_MS - 1_000 }, { maxUnavailable: 2 }],
  "outside its window": [{ opening: { isOpen: false, reason: "OutsideWindow", message: "at 22:00", opensAtMs: NOW_MS + 9_000 } }, {}],
  "waiting for another set": [{ waitsFor: "NodeSet/db" }, {}],
};
/** By name: in the middle of its neighbours, or last. */
const MIDDLE = "b";
const LAST = "d";

function said(decisions: readonly Decision[]): string {
  return decisions
    .map((decision) => {
      switch (decision.type) {
        case "wait":
          return decision.name === MIDDLE || decision.name === LAST
            ? `${decision.name} ${decision.reason} (${decision.message})`
            : `${decision.name} ${decision.reason}`;
        case "askAgain":
          return `again in ${decision.atMs - NOW_MS}`;
        case "askGate":
          return `ask ${decision.wave}`;
        case "progress": {
          const { phase, reason, updated, inChange, failed, waves } = decision;
          const each = waves.map((wave) => `${wave.phase} ${wave.updated}/${wave.nodes}`).join(", ");
          return `${phase} ${reason}: ${updated} updated, ${inChange} in change, ${failed} failed [${each}]`;
        }
        case "move":
        case "settle":
        case "drain":
        case "release":
          return `${decision.type} ${decision.name}`;
      }
    })
    .join("; ");
}

function table(rollout: RolloutInput, place: string): string {
  const byOutcome = new Map<string, Map<string, string[]>>();
  for (const [plan, ofPlan] of Object.entries(plans)) {
    for (const [circumstance, ofNode] of Object.entries(circumstances)) {
      const node: FleetNode = nodeOf({ ...ofPlan, ...ofNode, name: place });
      const fleet = [nodeOf({ name: "a" }), node, nodeOf({ name: "c", ...plans["settled an hour ago"] })];
      const outcome = said(decideAfresh(rollout, fleet, [], NOW_MS));
      const byPlan = byOutcome.get(outcome) ?? new Map<string, string[]>();
      byOutcome.set(outcome, byPlan.set(plan, [...(byPlan.get(plan) ?? []), circumstance]));
    }
  }
  const all = Object.keys(circumstances).length;
  const lines = [...byOutcome].map(([outcome, byPlan]) => {
    const plansBy = new Map<string, string[]>();
    for (const [plan, some] of byPlan) {
      const left = Object.keys(circumstances).filter((each) => !some.includes(each));
      const those = left.length === 0 ? "any" : some.length > all / 2 ? `any but ${left.join(" | ")}` : some.join(" | ");
      plansBy.set(those, [...(plansBy.get(those) ?? []), plan]);
    }
    return [outcome, ...[...plansBy].map(([those, of]) => `  [${of.join(" | ")}] ${those}`)].join("\n");
  });
  return `${lines.join("\n")}\n`;
}

describe("decide() says as recorded", () => {
  it.each(Object.entries(rollouts))("of a rollout that is %s", async (name, [input, strategy]) => {
    const place = strategy.waves === undefined && strategy.canary === undefined ? MIDDLE : LAST;
    const file = `tables/${name.replaceAll(/[ ,]+/g, "-")}.txt`;
    await expect(table(rolloutOf(input, strategy), place)).toMatchFileSnapshot(file);
  });

  it.each(Object.entries(rollouts).filter(([, [, { waves }]]) => waves !== undefined))(
    "of a node of an earlier wave where it is %s",
    async (name, [input, strategy]) => {
      const file = `tables/${name.replaceAll(/[ ,]+/g, "-")}-early.txt`;
      await expect(table(rolloutOf(input, strategy), MIDDLE)).toMatchFileSnapshot(file);
    },
  );
});
