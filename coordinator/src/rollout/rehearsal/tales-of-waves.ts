/** Stories of rollouts that go as they were told to: waves, budgets, approvals, windows, verbs. */
import type { RolloutInput } from "../model.ts";
import { seededNames, type TaleOf } from "./tales.ts";

/** Open for a minute from the start, and again an hour later. */
function hourlyMinute(nowMs: number): RolloutInput["opening"] {
  const hour = Math.floor(nowMs / 3_600_000);
  if (nowMs % 3_600_000 < 60_000) return { isOpen: true, closesAtMs: hour * 3_600_000 + 60_000 };
  return { isOpen: false, reason: "OutsideWindow", message: `the window opens at ${hour + 1}:00`, opensAtMs: (hour + 1) * 3_600_000 };
}

export const talesOfWaves: readonly TaleOf[] = [
  {
    name: "sunny",
    about: "a canary, two waves and the rest, each soaked before the next",
    tell: (tale) => {
      tale.nodes(seededNames(10));
      tale.begin("B", { maxUnavailable: 2, soakMs: 60_000, canary: { nodes: 1, soakMs: 120_000, prefers: () => false }, waves: [3, 6] });
    },
  },
  {
    name: "canary-fails",
    about: "the canary fails and nobody else is touched",
    tell: (tale) => {
      const [canary] = tale.nodes("a b c d");
      canary!.fate = () => ({ outcome: "rejected", reason: "NotConfirmed", message: "undone at the deadline" });
      tale.begin("B", { maxUnavailable: 2, failureBudget: 0, canary: { nodes: 1, soakMs: 60_000, prefers: () => false } });
    },
  },
  {
    name: "canary-by-label",
    about: "the canary is taken from where it was asked for",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.nodes("y z", "web", { canary: "yes" });
      tale.begin("B", { canary: { nodes: 2, soakMs: 30_000, prefers: (labels) => labels["canary"] === "yes" } });
    },
  },
  {
    name: "budget-one-of-three",
    about: "one of three at a time",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.begin("B");
    },
  },
  {
    name: "all-at-once",
    about: "100 % is asked for: nothing moves until the count is confirmed, and the right one",
    tell: (tale) => {
      tale.nodes("a b c d");
      tale.begin("B", { maxUnavailable: 4, isAll: true });
      tale.at("01:00", "an operator confirms 3 nodes", () => tale.world.speak({ confirmedNodes: 3 }));
      tale.at("02:00", "an operator confirms 4 nodes", () => tale.world.speak({ confirmedNodes: 4 }));
    },
  },
  {
    name: "all-at-once-is-for-live",
    about: "100 % of a change that restarts something is not carried out, whatever was confirmed",
    tell: (tale) => {
      for (const machine of tale.nodes("a b c")) machine.impact = "restart";
      tale.begin("B", { maxUnavailable: 3, isAll: true });
      tale.world.speak({ confirmedNodes: 3 });
    },
  },
  {
    name: "empty-selector",
    about: "a set that selects nobody has nothing to do, and takes along who comes",
    tell: (tale) => {
      tale.begin("B");
      tale.at("05:00", "a joins", () => void tale.nodes("a"));
    },
  },
  {
    name: "late-joiner-holds-the-next-wave",
    about: "a node that enrols in the middle and ranks in an earlier wave holds the next one back",
    tell: (tale) => {
      tale.nodes("b c d e f");
      tale.begin("B", { waves: [2, 4], soakMs: 30_000 });
      tale.at("00:45", "a joins: it ranks first", () => void tale.nodes("a"));
    },
  },
  {
    name: "abort-and-undo",
    about: "a rollout is aborted in the middle, and another goes back to the revision before",
    tell: (tale) => {
      const nodes = tale.nodes("a b c d");
      for (const machine of nodes) machine.workMs = 20_000;
      tale.begin("A", { maxUnavailable: 2 });
      tale.at("10:00", "the profile is changed", () => tale.begin("B", { maxUnavailable: 2 }));
      tale.at("10:10", "an operator aborts", () => tale.world.speak({ isAborted: true }));
      tale.at("15:00", "an operator undoes it", () => tale.begin("A", { maxUnavailable: 2 }));
    },
  },
  {
    name: "window-closes",
    about: "the window closes half way and opens again: who is in change comes to an end, nobody begins",
    tell: (tale) => {
      for (const machine of tale.nodes("a b c d")) machine.workMs = 40_000;
      tale.begin("B");
      tale.world.speak({ opening: hourlyMinute });
    },
  },
  {
    name: "freeze",
    about: "everything is frozen for a while",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.begin("B", { soakMs: 60_000 });
      const frozen = { isOpen: false as const, reason: "Frozen" as const, message: "frozen for the weekend", opensAtMs: undefined };
      tale.at("00:30", "an operator freezes everything", () => tale.world.speak({ opening: () => frozen }));
      tale.at("30:00", "the freeze is lifted", () => tale.world.speak({ opening: () => ({ isOpen: true, closesAtMs: undefined }) }));
    },
  },
  {
    name: "approval",
    about: "the second wave waits for an approver, whose approval is bound to what was shown",
    tell: (tale) => {
      const nodes = tale.nodes("a b c d");
      tale.begin("B", { waves: [2], approvals: new Set([2]) });
      tale.at("05:00", "an approver approves what was shown", () => {
        tale.world.approve(2);
        for (const machine of nodes.slice(2)) machine.impact = "restart";
      });
      tale.at("05:00", "the facts of c and d have changed meanwhile: they would be restarted", () => undefined);
      tale.at("10:00", "an approver approves what is shown now", () => tale.world.approve(2));
    },
  },
  {
    name: "promote",
    about: "an operator does not wait for the canary's long soak",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.begin("B", { maxUnavailable: 2, canary: { nodes: 1, soakMs: 3_600_000, prefers: () => false } });
      tale.at("05:00", "an operator promotes the canary", () => tale.world.speak({ promotedWave: 1 }));
    },
  },
  {
    name: "pause-and-resume",
    about: "paused, who is in change comes to an end; resumed, it goes on",
    tell: (tale) => {
      for (const machine of tale.nodes("a b c")) machine.workMs = 20_000;
      tale.begin("B");
      tale.at("00:10", "an operator pauses", () => tale.world.speak({ isPaused: true }));
      tale.at("10:00", "an operator resumes", () => tale.world.speak({ isPaused: false }));
    },
  },
  {
    name: "exclusive-zones",
    about: "never two zones at once, though the budget would allow it",
    tell: (tale) => {
      for (const [index, name] of seededNames(6).entries()) tale.nodes([name], "web", { zone: `z${(index % 3) + 1}` });
      tale.begin("B", { maxUnavailable: 3, exclusive: "zone" });
    },
  },
  {
    name: "several-budgets",
    about: "budgets of zones and racks hold at the same time, and the set's as well",
    tell: (tale) => {
      for (const [index, name] of seededNames(8).entries())
        tale.nodes([name], "web", { zone: `z${(index % 2) + 1}`, rack: `r${(index % 4) + 1}` });
      tale.begin("B", {
        maxUnavailable: 4,
        budgets: [
          { topologyKey: "zone", atOnce: () => 2 },
          { topologyKey: "rack", atOnce: () => 1 },
        ],
      });
    },
  },
  {
    name: "ordered-by-role",
    about: "nodes of one role go before those of another",
    tell: (tale) => {
      tale.nodes("a b", "web", { role: "db" });
      tale.nodes("c d", "web", { role: "web" });
      tale.begin("B", { order: { key: "role", values: ["web", "db"] } });
    },
  },
  {
    name: "sets-in-sequence",
    about: "one set waits until another is complete; a zone is never shared by both in change",
    tell: (tale) => {
      tale.nodes("a b", "db", { zone: "z1" });
      tale.nodes("c d", "web", { zone: "z1" });
      tale.begin("B", { maxUnavailable: 2 }, "db");
      tale.begin("B", { maxUnavailable: 2 }, "web", "db");
    },
  },
  {
    name: "two-sets-one-zone",
    about: "two sets share the budget of their zone",
    tell: (tale) => {
      tale.nodes("a b", "db", { zone: "z1" });
      tale.nodes("c d", "web", { zone: "z1" });
      const budgets = [{ topologyKey: "zone", atOnce: () => 1 }];
      tale.begin("B", { maxUnavailable: 2, budgets }, "db");
      tale.begin("B", { maxUnavailable: 2, budgets }, "web");
    },
  },
  {
    name: "webhook",
    about: "the webhook refuses after the canary, and lets it pass later",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.webhook(1, false);
      tale.begin("B", { maxUnavailable: 2, hasWebhook: true, canary: { nodes: 1, soakMs: 0, prefers: () => false } });
      tale.at("20:00", "the webhook is content", () => tale.webhook(1, true));
    },
  },
];
