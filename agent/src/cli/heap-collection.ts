/** Gives memory back to the machine: after the start, and whenever work (a plan, a session, a scan) has left garbage behind. */
import { getHeapSpaceStatistics } from "node:v8";
import { type Clock, type Component, sleep } from "@drover/lifecycle";

/** By then the first session is over. */
const FIRST_LOOK_MS = 15_000;
const LOOK_INTERVAL_MS = 60_000;
/** Heartbeats alone take hours for that; a collection costs as much CPU as a drift scan. */
const WORTHWHILE_BYTES = 512 * 1024;

export interface Heap {
  /** By what has lived for a while: what dies young is collected by V8 itself in bounded room, for next to nothing. */
  usedBytes(): number;
  /** Everything that can be, and the pages handed back. */
  collect(): void;
}

/** V8's; undefined without --expose-gc, which the executable has built in. */
export function ownHeap(): Heap | undefined {
  const { gc } = globalThis;
  if (gc === undefined) return undefined;
  return {
    usedBytes: () =>
      getHeapSpaceStatistics()
        .filter(({ space_name }) => !space_name.startsWith("new_"))
        .reduce((sum, { space_used_size }) => sum + space_used_size, 0),
    // V8 would do the same, but only when a machine that has no memory left is swapping.
    collect: () => gc({ type: "major", execution: "sync", flavor: "last-resort" }),
  };
}

export function heapCollection(clock: Clock, heap: Heap): Component {
  return {
    name: "heap",
    async run(signal) {
      let keptBytes = 0;
      const pause = (ms: number): Promise<void> => sleep(clock, ms, signal).catch(() => undefined);
      for (await pause(FIRST_LOOK_MS); !signal.aborted; await pause(LOOK_INTERVAL_MS)) {
        if (heap.usedBytes() < keptBytes + WORTHWHILE_BYTES) continue;
        heap.collect();
        keptBytes = heap.usedBytes();
      }
    },
  };
}
