import { describe, expect, it } from "vitest";
import { MemoryStateDirectory } from "../state/index.ts";
import { Journal } from "./journal.ts";
import { emptyJournal, type JournalRecord, replay } from "./journal-state.ts";

const pair = (generation: number) => ({ planEpoch: 1, generation });
const life = (generation: number): JournalRecord[] => [
  { type: "accepted", ...pair(generation), plan: "cGxhbg==" },
  { type: "intent", ...pair(generation), step: "sysctl", kind: "sysctl", changes: [] },
  { type: "done", ...pair(generation), step: "sysctl" },
  { type: "ended", ...pair(generation), ending: { outcome: "enforced" } },
];

describe("the journal", () => {
  it("says after each record how far the plan has come", () => {
    const states = life(1).map((_record, index) => replay(life(1).slice(0, index + 1)));
    expect(states.map(({ accepted }) => [accepted?.running?.step, accepted?.done.length, accepted?.ending?.outcome])).toEqual([
      [undefined, 0, undefined],
      ["sysctl", 0, undefined],
      [undefined, 1, undefined],
      [undefined, 1, "enforced"],
    ]);
    expect(states.map((state) => state.enforced?.generation)).toEqual([undefined, undefined, undefined, 1]);
  });

  it("takes nothing that a superseded plan's running step still writes for the new plan's", () => {
    const [accepted, intent, done, ended] = life(1) as [JournalRecord, JournalRecord, JournalRecord, JournalRecord];
    const state = replay([accepted, intent, ...life(2).slice(0, 1), done, ended]);
    expect(state.accepted).toMatchObject({ generation: 2, done: [], touched: ["sysctl"], ending: undefined });
    expect(state.enforced).toBeUndefined();
  });

  it("stays small over thousands of plans, and a crash that brings trimmed records back changes nothing", async () => {
    const state = new MemoryStateDirectory();
    let journal = await Journal.open(state);
    expect(journal.state).toEqual(emptyJournal);
    for (let generation = 1; generation <= 1000; generation += 1) {
      for (const record of life(generation)) await journal.write(record);
      await journal.compact();
      if (generation % 97 === 0) {
        const before = journal.state;
        state.crash({ untrim: true });
        journal = await Journal.open(state);
        expect(journal.state).toEqual(before);
      }
    }
    expect((await state.openLog("journal")).records.length).toBeLessThan(210);
  });

  it("forgets no plan that is being accepted while it is compacted", async () => {
    const state = new MemoryStateDirectory();
    const journal = await Journal.open(state);
    for (let generation = 1; generation <= 60; generation += 1) for (const record of life(generation)) await journal.write(record);
    const accepting = journal.write(life(61)[0]!);
    await journal.compact();
    await accepting;
    expect(journal.state.accepted?.generation).toBe(61);
    state.crash();
    expect((await Journal.open(state)).state.accepted?.generation).toBe(61);
  });
});
