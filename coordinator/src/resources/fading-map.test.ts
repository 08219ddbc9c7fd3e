import { expect, it } from "vitest";
import { FadingMap } from "./fading-map.ts";

it("keeps what is asked for now and then, and forgets what was not asked for while thousands came", () => {
  const map = new FadingMap<object, number>();
  const [kept, left] = [{}, {}];
  map.set(kept, 1);
  map.set(left, 2);
  expect([map.get(kept), map.get(left), map.get({})]).toEqual([1, 2, undefined]);
  for (let round = 0; round < 4; round += 1) {
    for (let other = 0; other < 4_000; other += 1) map.set({}, other);
    expect(map.get(kept)).toBe(1);
  }
  expect(map.get(left)).toBeUndefined();
});
