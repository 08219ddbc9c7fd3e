/** The one place that knows pino. Under journald each line carries its priority. */
import type { Log } from "@drover/lifecycle";
import { destination, pino, symbols } from "pino";

/** @param isJournal stdout goes to journald, which stamps time itself and reads "<6>" */
export function makeLog(level: string, isJournal: boolean): Log {
  const output = destination({ fd: 1, sync: true });
  if (!isJournal) return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, output);
  const prefixed = {
    [symbols.needsMetadataGsym]: true as const,
    lastLevel: 30,
    write(line: string) {
      output.write(`<${priorityOf(this.lastLevel)}>${line}`);
    },
  };
  return pino({ level, base: null, timestamp: false }, prefixed);
}

/** syslog's numbers of pino's levels. */
function priorityOf(level: number): number {
  if (level >= 60) return 2;
  if (level >= 50) return 3;
  if (level >= 40) return 4;
  return level >= 30 ? 6 : 7;
}
