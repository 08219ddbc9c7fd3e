import { seededRandom, silentLog, VirtualClock } from "@drover/lifecycle";
import { expect, test } from "vitest";
import { ComeAgain } from "../ports.ts";
import { ConversationLoop } from "./conversation-loop.ts";

const intervals = { firstSessionMs: 0, pollMs: 600_000, pollWithoutBusMs: 60_000, reopenBaseMs: 1_000 };

/** @returns when sessions were tried, in monotonic milliseconds */
async function tries(
  refusals: readonly Error[],
  whileRunning: (loop: ConversationLoop, clock: VirtualClock) => Promise<void>,
  isPollSpared = (): boolean => false,
) {
  const clock = new VirtualClock();
  const atMs: number[] = [];
  const left = [...refusals];
  const loop = new ConversationLoop({
    hold: () => {
      atMs.push(clock.monotonicMs());
      const refusal = left.shift();
      return refusal === undefined ? Promise.resolve() : Promise.reject(refusal);
    },
    knows: () => false,
    isBusConnected: () => true,
    isPollSpared,
    isSessionWanted: () => false,
    clock,
    random: seededRandom(3),
    log: silentLog,
    intervals,
  });
  const ended = new AbortController();
  const running = loop.run(ended.signal);
  await whileRunning(loop, clock);
  ended.abort();
  await clock.advance(1);
  await running;
  return atMs;
}

test("a slot is obeyed, a little late but never early, and wake-ups do not shorten it", async () => {
  const atMs = await tries([new ComeAgain("Busy", 30_000)], async (loop, clock) => {
    await clock.advance(1_000);
    for (let passed = 0; passed < 29; passed += 1) {
      loop.wake({ generation: 1, delayMs: 0, sessionWanted: true });
      await clock.advance(1_000);
    }
    await clock.advance(5_000);
  });
  expect(atMs).toHaveLength(2);
  expect(atMs[1]! - atMs[0]!).toBeGreaterThanOrEqual(30_000);
  expect(atMs[1]! - atMs[0]!).toBeLessThanOrEqual(33_000);
});

test("after the slot wake-ups are followed at once again", async () => {
  const atMs = await tries([new ComeAgain("Busy", 5_000)], async (loop, clock) => {
    await clock.advance(20_000);
    loop.wake({ generation: 1, delayMs: 0, sessionWanted: false });
    await clock.advance(10);
  });
  expect(atMs).toHaveLength(3);
  expect(atMs[2]).toBe(20_000);
});

test("without a slot each failed try is followed later than the one before, up to the poll's pace", async () => {
  const atMs = await tries(
    Array.from({ length: 12 }, () => new Error("unreachable")),
    (_loop, clock) => clock.advance(3_600_000),
  );
  const gaps = atMs.slice(1).map((at, index) => at - atMs[index]!);
  expect(gaps.length).toBeGreaterThan(8);
  expect(Math.max(...gaps.slice(0, 3))).toBeLessThan(10_000);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(intervals.pollMs * 1.3);
  expect(gaps.at(-1)!).toBeGreaterThan(gaps[0]! * 4);
});

test("a poll that would find nothing is left out and looked at again a poll later; wake-ups and what is wanted open sessions all the same", async () => {
  let isSpared = true;
  const atMs = await tries(
    [],
    async (loop, clock) => {
      await clock.advance(7_200_000);
      loop.wake({ generation: 1, delayMs: 0, sessionWanted: false });
      await clock.advance(600_000);
      loop.want();
      await clock.advance(600_000);
      isSpared = false;
      await clock.advance(800_000);
    },
    () => isSpared,
  );
  expect(atMs.slice(0, 3)).toEqual([0, 7_200_000, 7_800_000]);
  expect(atMs[3]).toBeGreaterThan(8_400_000);
  expect(atMs[3]).toBeLessThanOrEqual(8_400_000 + 780_000);
});

test("a session that failed is tried again although polls are left out", async () => {
  const atMs = await tries(
    [new Error("unreachable")],
    (_loop, clock) => clock.advance(3_600_000),
    () => true,
  );
  expect(atMs).toHaveLength(2);
});
