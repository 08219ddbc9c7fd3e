import { expect, it } from "vitest";
import { coordinatorStatus } from "./coordinator-status.ts";

const state = { graceMs: 30_000, intervalMs: 10_000, loopLagMs: 3, consumerLagMs: 20, isRoundTripFine: true, steadyMs: 60_000 };
const census = { roundTripMs: 1.5, awakeMs: 90_000, lapses: 2, disruptedCells: 1, disruptedCellNames: ["zone a"], suspects: 4 };
const reasonOf = (parts: Partial<typeof state>): string =>
  coordinatorStatus({ state: () => ({ ...state, ...parts }), census: () => census }).unhealthyReason;

it("tells how well the coordinator sees, and names the cells that fell silent", () => {
  expect(coordinatorStatus({ state: () => state, census: () => census })).toEqual({
    unhealthyReason: "",
    loopLagMs: 3,
    consumerLagMs: 20,
    roundTripMs: 1.5,
    awakeMs: 90_000,
    steadyMs: 60_000,
    lapses: 2,
    heartbeatIntervalMs: 10_000,
    graceMs: 30_000,
    disruptedCells: ["zone a"],
    suspects: 4,
  });
});

it.each([
  [{ loopLagMs: 1_500 }, "its own loop is 1500 ms late"],
  [{ consumerLagMs: 12_000 }, "its own beat has not come back for 12000 ms"],
  [{ isRoundTripFine: false }, "NATS does not answer"],
  [{ steadyMs: 29_999 }, "it has seen well for 29999 ms only"],
])("says why it makes no verdicts: %j", (parts, reason) => {
  expect(reasonOf(parts)).toContain(reason);
});
