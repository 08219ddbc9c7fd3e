import fc from "fast-check";
import { expect, test } from "vitest";
import { LARGE_BYTES, schedule, type Transfer } from "./schedule.ts";

const transfer = fc.record({
  digest: fc.uuid(),
  sizeBytes: fc.oneof(
    fc.nat(1000),
    fc.nat(1000).map((more) => LARGE_BYTES + more),
  ),
  registry: fc.constantFrom(undefined, "a.example", "b.example", "c.example"),
});
const transfers = fc.uniqueArray(transfer, { selector: (each) => each.digest, maxLength: 30 });
const limits = fc.record({
  maxParallel: fc.integer({ min: 1, max: 8 }),
  maxParallelPerRegistry: fc.integer({ min: 1, max: 8 }),
  maxParallelLarge: fc.integer({ min: 1, max: 3 }),
});
const isLarge = ({ sizeBytes }: Transfer): boolean => sizeBytes >= LARGE_BYTES;

/** Runs all of them, ending one at a time as `pick` says; calls look after each start. */
function runAll(
  all: readonly Transfer[],
  bounds: Parameters<typeof schedule>[2],
  pick: (running: number) => number,
  look: (running: readonly Transfer[]) => void,
): readonly Transfer[] {
  const started: Transfer[] = [];
  let running: readonly Transfer[] = [];
  for (;;) {
    const next = schedule(
      all.filter((each) => !started.includes(each)),
      running,
      bounds,
    );
    started.push(...next);
    running = [...running, ...next];
    look(running);
    if (running.length === 0) return started;
    const ending = pick(running.length);
    running = running.filter((_each, index) => index !== ending);
  }
}

test("no limit is ever exceeded, and each transfer is started once, whatever ends first", () => {
  fc.assert(
    fc.property(transfers, limits, fc.infiniteStream(fc.nat()), (all, bounds, choices) => {
      const pick = (count: number): number => choices.next().value % count;
      const started = runAll(all, bounds, pick, (running) => {
        expect(running.length).toBeLessThanOrEqual(bounds.maxParallel);
        expect(running.filter((each) => isLarge(each)).length).toBeLessThanOrEqual(bounds.maxParallelLarge);
        for (const registry of ["a.example", "b.example", "c.example"]) {
          expect(running.filter((each) => each.registry === registry).length).toBeLessThanOrEqual(bounds.maxParallelPerRegistry);
        }
      });
      expect(new Set(started)).toEqual(new Set(all));
      expect(started).toHaveLength(all.length);
    }),
  );
});

test("nothing waits that could run, and of one registry the smaller comes first", () => {
  fc.assert(
    fc.property(transfers, transfers, limits, (waiting, running, bounds) => {
      const next = schedule(waiting, running, bounds);
      const after = [...running, ...next];
      const left = waiting.filter((each) => !next.includes(each));
      for (const each of left) {
        const ofRegistry = after.filter((other) => other.registry === each.registry).length;
        const hasSmaller = [...left, ...after].some((other) => other.registry === each.registry && !isLarge(other));
        const isHeldAsLarge = isLarge(each) && (hasSmaller || after.filter((other) => isLarge(other)).length >= bounds.maxParallelLarge);
        const isAtLimit =
          after.length >= bounds.maxParallel || (each.registry !== undefined && ofRegistry >= bounds.maxParallelPerRegistry);
        expect(isHeldAsLarge || isAtLimit).toBe(true);
        for (const chosen of next.filter((other) => other.registry === each.registry)) {
          expect(chosen.sizeBytes).toBeLessThanOrEqual(each.sizeBytes);
        }
      }
    }),
  );
});

const of = (digest: string, sizeBytes: number, registry: string | undefined): Transfer => ({ digest, sizeBytes, registry });

test("a registry at its limit does not hold up another's larger image", () => {
  const waiting = [of("1", 1, "a"), of("2", 2, "a"), of("3", 3, "b"), of("4", 4, undefined), of("5", 5, "a")];
  const next = schedule(waiting, [], { maxParallel: 4, maxParallelPerRegistry: 1, maxParallelLarge: 1 });
  expect(next.map((each) => each.digest)).toEqual(["1", "3", "4"]);
});

test("a large image waits for the smaller ones of its registry to end, not for another's", () => {
  const bounds = { maxParallel: 6, maxParallelPerRegistry: 4, maxParallelLarge: 2 };
  const [small, large, elsewhere] = [of("1", 1, "a"), of("2", LARGE_BYTES, "a"), of("3", LARGE_BYTES, "b")];
  expect(schedule([elsewhere, large, small], [], bounds)).toEqual([small, elsewhere]);
  expect(schedule([large], [small, elsewhere], bounds)).toEqual([]);
  expect(schedule([large], [elsewhere], bounds)).toEqual([large]);
});
