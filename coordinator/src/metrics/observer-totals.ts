/** How well the coordinator sees the fleet, and what it asked about silent nodes, as numbers for Prometheus. */
import type { Observer } from "../fleet/observer.ts";
import type { QuestionCounts } from "../fleet/suspects.ts";
import type { Totals } from "./metrics.ts";

const NONE_ASKED: QuestionCounts = { asked: 0, alive: 0, dead: 0, none: 0 };

/** @param questions undefined: nobody is asked */
export function observerTotals(observer: Pick<Observer, "state" | "census">, questions = NONE_ASKED): ReturnType<Totals> {
  const { graceMs, intervalMs, loopLagMs, consumerLagMs, steadyMs } = observer.state();
  const { roundTripMs, awakeMs, lapses, disruptedCells, suspects } = observer.census();
  return {
    heartbeat_interval_seconds: { help: "Interval nodes are asked to beat at.", value: intervalMs / 1000 },
    heartbeat_grace_seconds: { help: "Silence that may end in a verdict.", value: graceMs / 1000 },
    observer_loop_lag_seconds: { help: "Lateness of the last verdict tick.", value: loopLagMs / 1000 },
    observer_consumer_lag_seconds: { help: "Age of the oldest own beat that has not come back.", value: consumerLagMs / 1000 },
    observer_round_trip_seconds: { help: "Of the last round trip to NATS; NaN: it failed.", value: (roundTripMs ?? Number.NaN) / 1000 },
    observer_awake_seconds_total: { help: "Time in which the observer was awake and had caught up.", value: awakeMs / 1000 },
    observer_steady_seconds: { help: "Time since the observer last lapsed; silence is judged from one grace on.", value: steadyMs / 1000 },
    observer_lapses_total: { help: "Moments in which the observer did not trust itself.", value: lapses },
    observer_disrupted_cells: { help: "Zones, racks, NATS servers and shards with many nodes silent together.", value: disruptedCells },
    observer_suspects: { help: "Nodes silent for more than half the grace.", value: suspects },
    second_path_questions_total: { help: "Questions about silent nodes.", value: questions.asked },
    second_path_alive_total: { help: "Of them: the machine lives.", value: questions.alive },
    second_path_agreed_total: { help: "Of them: no sign of life.", value: questions.dead },
    second_path_no_evidence_total: { help: "Of them: the answer proves nothing, or there was none.", value: questions.none },
  };
}
