import { describe, expect, it } from "vitest";
import { VirtualClock } from "@drover/lifecycle";
import { Progress, ProgressPhase } from "@drover/proto";
import { ProgressThrottle } from "./progress-throttle.ts";

const { PROGRESS_PHASE_STARTED, PROGRESS_PHASE_RUNNING, PROGRESS_PHASE_DONE } = ProgressPhase;

type Give = (item: string, phase: ProgressPhase, doneBytes?: number) => void;

async function shown(take: (give: Give) => void): Promise<string[]> {
  const clock = new VirtualClock();
  const throttle = new ProgressThrottle(clock);
  const lines: string[] = [];
  throttle.attach(({ item, phase, doneBytes }) => void lines.push(`${item}:${phase}:${doneBytes}`));
  take((item, phase, doneBytes = 0) => throttle.take(Progress.fromPartial({ step: "images", item, phase, doneBytes })));
  await clock.advance(500);
  return lines;
}

describe("live progress", () => {
  it("tells the newest of an item, and its start and end besides, in the order in which they came", async () => {
    const lines = await shown((give) => {
      give("a", PROGRESS_PHASE_STARTED);
      give("a", PROGRESS_PHASE_RUNNING, 1);
      give("b", PROGRESS_PHASE_RUNNING, 2);
      give("a", PROGRESS_PHASE_RUNNING, 3);
      give("a", PROGRESS_PHASE_DONE, 4);
    });
    expect(lines).toEqual(["a:1:0", "b:2:2", "a:2:3", "a:3:4"]);
  });

  it("tells a step's start and end at once, what waited before it first", async () => {
    const lines = await shown((give) => {
      give("", PROGRESS_PHASE_STARTED);
      give("a", PROGRESS_PHASE_DONE, 1);
      give("", PROGRESS_PHASE_DONE);
    });
    expect(lines).toEqual([":1:0", "a:3:1", ":3:0"]);
  });
});
