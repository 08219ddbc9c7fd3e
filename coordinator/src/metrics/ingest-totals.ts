/** What taking reports counts, as metrics. */
import type { Ingest } from "../ingest/ingest.ts";
import type { Totals } from "./metrics.ts";

export function ingestTotals(ingest: Pick<Ingest, "counters" | "lagMs">): ReturnType<Totals> {
  const { pulls, folded, events, duplicates, gaps, clones, refused, foldMs } = ingest.counters;
  return {
    report_pulls_total: { help: "Pulls from the REPORTS stream.", value: pulls },
    reports_folded_total: { help: "Report batches folded.", value: folded },
    report_events_total: { help: "Events in the report batches folded.", value: events },
    reports_duplicate_total: { help: "Report batches that had come before.", value: duplicates },
    reports_gap_total: { help: "Report batches ahead of a gap, sent again later.", value: gaps },
    reports_clone_total: { help: "Report batches that only a cloned node can have sent.", value: clones },
    reports_refused_total: { help: "Report batches refused.", value: refused },
    reports_fold_seconds_total: { help: "Time spent on folding report batches.", value: foldMs / 1000 },
    reports_lag_seconds: { help: "Until the reports that wait now will have been taken.", value: ingest.lagMs() / 1000 },
  };
}
