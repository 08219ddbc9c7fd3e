import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { DeadlineExceeded, exponentialBackoff, runGroup, Secret, seededRandom, sleep, VirtualClock, withDeadline } from "./index.ts";

describe("VirtualClock", () => {
  it("fires timers in the order they are due, ties in the order they were set, and none that was cancelled", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ delayMs: fc.nat(50), isCancelled: fc.boolean() }), { maxLength: 40 }), async (timers) => {
        const clock = new VirtualClock(0);
        const fired: { index: number; atMs: number }[] = [];
        const cancels = timers.map(({ delayMs }, index) => clock.setTimer(delayMs, () => fired.push({ index, atMs: clock.monotonicMs() })));
        timers.forEach(({ isCancelled }, index) => {
          if (isCancelled) cancels[index]!();
        });
        await clock.advance(100);
        const expected = timers
          .map(({ delayMs, isCancelled }, index) => ({ index, atMs: delayMs, isCancelled }))
          .filter((timer) => !timer.isCancelled)
          .sort((a, b) => a.atMs - b.atMs || a.index - b.index)
          .map(({ index, atMs }) => ({ index, atMs }));
        expect(fired).toEqual(expected);
      }),
    );
  });

  it("lets what a timer awaits run before the next timer fires", async () => {
    const clock = new VirtualClock(0);
    const seen: number[] = [];
    const loop = async (): Promise<void> => {
      for (let turn = 0; turn < 3; turn += 1) {
        await sleep(clock, 10);
        seen.push(clock.monotonicMs());
      }
    };
    const running = loop();
    await clock.advance(35);
    await running;
    expect(seen).toEqual([10, 20, 30]);
  });

  it("moves wall time by a jump and monotonic time not at all", () => {
    const clock = new VirtualClock(1000);
    clock.jump(-3_600_000);
    expect([clock.now(), clock.monotonicMs()]).toEqual([1000 - 3_600_000, 0]);
  });
});

describe("withDeadline", () => {
  it("rejects at the deadline though the work ignores its signal, and passes a result on before it", async () => {
    const clock = new VirtualClock();
    const hanging = withDeadline(clock, "asking", 100, undefined, () => new Promise<never>(() => {}));
    const expectation = expect(hanging).rejects.toBeInstanceOf(DeadlineExceeded);
    await clock.advance(100);
    await expectation;
    await expect(withDeadline(clock, "asking", 100, undefined, async () => 7)).resolves.toBe(7);
  });

  it("rejects with the parent's reason when that aborts first", async () => {
    const parent = new AbortController();
    const work = withDeadline(new VirtualClock(), "asking", 100, parent.signal, () => new Promise<never>(() => {}));
    parent.abort(new Error("stopping"));
    await expect(work).rejects.toThrow("stopping");
  });
});

describe("runGroup", () => {
  it("stops the others in reverse order when one fails, and throws its error", async () => {
    const ended: string[] = [];
    const untilAborted = (name: string) => ({
      name,
      run: (signal: AbortSignal) =>
        new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => {
            ended.push(name);
            resolve();
          });
        }),
    });
    const failing = { name: "failing", run: () => Promise.reject(new Error("broken")) };
    await expect(runGroup([untilAborted("first"), untilAborted("second"), failing], new AbortController().signal)).rejects.toThrow(
      "broken",
    );
    expect(ended).toEqual(["second", "first"]);
  });

  it("ends without an error when it is asked to stop", async () => {
    const stop = new AbortController();
    const group = runGroup(
      [
        {
          name: "one",
          run: (signal) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("stopped")))),
        },
      ],
      stop.signal,
    );
    stop.abort();
    await expect(group).resolves.toBeUndefined();
  });
});

describe("exponentialBackoff", () => {
  it("stays between a tenth of the ceiling and the ceiling, and starts anew after reset", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 20 }), (seed, calls) => {
        const backoff = exponentialBackoff(seededRandom(seed), { baseMs: 100, maxMs: 5000 });
        for (let call = 0; call < calls; call += 1) {
          const ceiling = Math.min(5000, 100 * 2 ** call);
          const delayMs = backoff.nextDelayMs();
          expect(delayMs).toBeGreaterThanOrEqual(ceiling / 10);
          expect(delayMs).toBeLessThanOrEqual(ceiling);
        }
        backoff.reset();
        expect(backoff.nextDelayMs()).toBeLessThanOrEqual(100);
      }),
    );
  });
});

describe("Secret", () => {
  it("prints as redacted in text, JSON and inspection, and gives its value only when asked", () => {
    const secret = new Secret("hunter2");
    expect([String(secret), JSON.stringify({ secret }), inspect({ secret })].join()).not.toContain("hunter2");
    expect(secret.reveal()).toBe("hunter2");
  });
});
