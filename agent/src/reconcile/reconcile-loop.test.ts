import { seededRandom, VirtualClock } from "@drover/lifecycle";
import { expect, it } from "vitest";
import { emptyJournal } from "./journal-state.ts";
import { ReconcileLoop } from "./reconcile-loop.ts";
import { Turns } from "./turns.ts";

it("scans for nothing while a change waits for its confirmation, so that its undo is in time (I4), and scans again after it", async () => {
  const clock = new VirtualClock();
  const deadlineMs = clock.monotonicMs() + 60_000;
  const done: string[] = [];
  const told = (what: string): void => void done.push(`${what} ${clock.monotonicMs() - deadlineMs + 60_000}`);
  let isTried = true;
  const stop = new AbortController();
  const loop = new ReconcileLoop({
    engine: {
      journal: emptyJournal,
      unconfirmed: { planEpoch: 1, generation: 1 },
      isCancelled: false,
      msUntilUndo: async () => (isTried ? deadlineMs - clock.monotonicMs() : undefined),
      apply: async () => told("apply"),
      scan: async () => told("scan"),
      undo: async () => {
        told("undo");
        isTried = false;
      },
    },
    clock,
    random: seededRandom(1),
    intervals: { driftScanMs: 600_000, retryBaseMs: 1000, retryMaxMs: 60_000 },
    turns: new Turns(clock),
    onPass: async () => undefined,
  });
  const running = loop.run(stop.signal);
  await clock.advance(59_999);
  expect(done).toEqual([]);
  await clock.advance(2);
  expect(done).toEqual(["undo 60000", "scan 60000"]);
  stop.abort();
  await running.catch(() => undefined);
});
