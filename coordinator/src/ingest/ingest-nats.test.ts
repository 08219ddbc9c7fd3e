import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog, systemClock, systemRandom } from "@drover/lifecycle";
import { expect, it } from "vitest";
import { until } from "../bus/bus-conformance.ts";
import { openNatsTestbed } from "../bus/nats-testbed.ts";
import { FleetState } from "../fleet/fleet-state.ts";
import { countReports } from "../reportlog/report-count.ts";
import { openSqliteReportLog } from "../reportlog/sqlite-report-log.ts";
import { createIngest } from "./ingest.ts";
import { TestOutbox } from "./outbox-for-tests.ts";
import { fileSnapshotStore } from "./snapshot-store.ts";

const NODES = ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"];
const REPORTS = 300;

it("loses nothing acknowledged when NATS is killed and its whole data directory deleted, twice, in the middle of reports", async () => {
  const testbed = await openNatsTestbed();
  const dir = mkdtempSync(join(tmpdir(), "drover-ingest-"));
  const stop = new AbortController();
  const reportLog = openSqliteReportLog(join(dir, "reports.db"));
  const fleet = new FleetState();
  const ingest = createIngest({
    bus: testbed.bus(),
    reportLog,
    fleet,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    snapshotStore: fileSnapshotStore(join(dir, "fleet.snapshot")),
    audit: () => {},
    knownNode: (nodeId) => NODES.includes(nodeId),
  });
  await ingest.recover();
  const running: Promise<void>[] = [testbed.nats.run(stop.signal), ingest.run(stop.signal)];
  try {
    const outboxes = NODES.map((nodeId) => {
      const port = testbed.agentPort(nodeId);
      const outbox = new TestOutbox(port, nodeId, systemRandom.bytes(8), systemClock);
      running.push(port.run(stop.signal), outbox.resend(300, stop.signal));
      return outbox;
    });
    for (let count = 1; count <= REPORTS; count++) {
      for (const outbox of outboxes) outbox.write();
      if (count % 10 === 0) await until(() => outboxes.some((outbox) => outbox.acked >= count - 40));
      if (count === 100 || count === 200) {
        expect(outboxes.some((outbox) => outbox.acked > 0)).toBe(true);
        process.kill(testbed.nats.pid!, "SIGKILL");
        rmSync(join(testbed.dir, "nats"), { recursive: true, force: true });
      }
    }
    await until(() => outboxes.every((outbox) => outbox.acked === REPORTS), 25_000);
    const counts = await countReports(reportLog);
    for (const { nodeId, epoch } of outboxes) {
      expect(counts.get(`${nodeId}/${epoch.toString("hex")}`)).toEqual({ count: REPORTS, first: 1, last: REPORTS });
      expect(fleet.node(nodeId)?.observedGeneration).toBe(REPORTS);
    }
    expect(ingest.counters.clones).toBe(0);
  } finally {
    stop.abort();
    await Promise.all(running);
    await reportLog.close();
    await testbed.close();
    rmSync(dir, { recursive: true, force: true });
  }
}, 60_000);
