import { VirtualClock } from "@drover/lifecycle";
import { expect, test } from "vitest";
import { heapCollection } from "./heap-collection.ts";

test("collects once after the start, then only when garbage has gathered, and ends with its signal", async () => {
  const clock = new VirtualClock();
  const stop = new AbortController();
  let used = 20_000_000;
  let collections = 0;
  const heap = {
    usedBytes: () => used,
    collect: () => {
      collections += 1;
      used = 10_000_000;
    },
  };
  const ended = heapCollection(clock, heap).run(stop.signal);
  await clock.advance(15_000);
  expect(collections).toBe(1);
  used += 400_000;
  await clock.advance(600_000);
  expect(collections).toBe(1);
  used += 200_000;
  await clock.advance(60_000);
  expect(collections).toBe(2);
  stop.abort();
  await ended;
});
