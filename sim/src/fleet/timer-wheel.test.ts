import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TimerWheel } from "./timer-wheel.ts";

describe("a timer wheel", () => {
  it("fires each timer once, never early and at most a tick late, in the order of their ticks, also beyond a turn of the wheel", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 60 }), (delays) => {
        const fired: [timer: number, atMs: number][] = [];
        let nowMs = 0;
        const wheel = new TimerWheel(delays.length, 0, (timer) => fired.push([timer, nowMs]), 10, 64);
        for (const [timer, delay] of delays.entries()) wheel.arm(timer, delay);
        for (; nowMs <= 5_020; nowMs += 10) wheel.advance(nowMs);
        expect(fired.map(([timer]) => timer).toSorted((a, b) => a - b)).toEqual(delays.map((_, timer) => timer));
        for (const [timer, atMs] of fired) expect(atMs - delays[timer]!).toSatisfy((late: number) => late >= 0 && late < 20);
        expect(fired.map(([, atMs]) => atMs)).toEqual(fired.map(([, atMs]) => atMs).toSorted((a, b) => a - b));
        expect(wheel.armedCount).toBe(0);
      }),
    );
  });

  it("forgets what is cancelled, and what is armed again has its new time alone", () => {
    const fired: number[] = [];
    const wheel = new TimerWheel(3, 0, (timer) => fired.push(timer), 10, 64);
    for (const timer of [0, 1, 2]) wheel.arm(timer, 50);
    wheel.cancel(1);
    wheel.arm(2, 500);
    wheel.advance(100);
    expect([fired, wheel.isArmed(1), wheel.isArmed(2)]).toEqual([[0], false, true]);
    wheel.advance(600);
    expect(fired).toEqual([0, 2]);
  });

  it("lets a timer that fires cancel another of the same tick, and arm itself again", () => {
    const fired: number[] = [];
    const wheel: TimerWheel = new TimerWheel(
      2,
      0,
      (timer) => {
        fired.push(timer);
        wheel.cancel(1 - timer);
        if (fired.length < 3) wheel.arm(timer, 10 * (fired.length + 1));
      },
      10,
      64,
    );
    wheel.arm(0, 10);
    wheel.arm(1, 10);
    wheel.advance(100);
    expect(new Set(fired).size).toBe(1);
    expect(fired).toHaveLength(3);
  });
});
