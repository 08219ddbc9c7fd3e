/** The report log in memory, for tests and the simulation. */
import type { ReportMessage, ReportPosition } from "../bus/bus.ts";
import { encodePull, notYetLogged } from "./pull-blob.ts";
import type { ReportLog } from "./report-log.ts";

interface Row {
  readonly row: number;
  readonly atMs: number;
  readonly bytes: number;
  readonly messages: readonly ReportMessage[];
}

export function memoryReportLog(): ReportLog {
  let rows: Row[] = [];
  let lastRow = 0;
  let position: ReportPosition | undefined;
  return {
    async append(pull, atMs) {
      const messages = notYetLogged(pull, position);
      if (messages.length === 0) return lastRow;
      const copies = messages.map((message) => ({ ...message, payload: Buffer.from(message.payload) }));
      rows.push({ row: ++lastRow, atMs, bytes: encodePull(copies).length, messages: copies });
      position = { incarnation: pull.incarnation, sequence: pull.lastSequence };
      return lastRow;
    },
    position: async () => position,
    async *read(afterRow) {
      for (const { row, atMs, messages } of rows.filter((entry) => entry.row > afterRow)) yield { row, atMs, messages };
    },
    async prune({ olderThanMs, maxBytes, keepAfterRow }) {
      let bytes = rows.reduce((sum, entry) => sum + entry.bytes, 0);
      rows = rows.filter((entry) => {
        const isTooMuch = entry.atMs < olderThanMs || bytes > maxBytes;
        bytes -= entry.bytes;
        return !isTooMuch || entry.row > keepAfterRow || entry.row === lastRow;
      });
    },
    async close() {},
  };
}
