/** Which events go into one batch, and which may be dropped for others. Pure. */
import { Event, Gap, ReportBatch } from "@drover/proto";

export interface BatchLimits {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

export const defaultBatchLimits: BatchLimits = { maxEvents: 64, maxBytes: 32 * 2 ** 10 };

/** What the envelope takes besides its events: node, epoch, seq. */
const ENVELOPE_BYTES = 64;

const ROUTINE: ReadonlySet<string> = new Set(["condition", "images", "stepStarted", "agentStarted"]);

/** What can be observed again is routine; what only happened once is not. */
export function isRoutine(event: Event): boolean {
  return ROUTINE.has(event.body?.$case ?? "");
}

/**
 * Where an event stands that this one makes superfluous: it tells the whole of the same thing, and later. What follows from both is what follows from this
 * one alone; -1: there is none.
 */
export function supersededBy(event: Event, pending: readonly Event[]): number {
  const { body } = event;
  if (body?.$case === "images") return pending.findIndex((before) => before.body?.$case === "images");
  if (body?.$case !== "condition") return -1;
  return pending.findIndex((before) => before.body?.$case === "condition" && before.body.value.type === body.value.type);
}

/** How many of the first events fit into one batch; at least 1, when there is one. */
export function fitting(events: readonly Event[], limits: BatchLimits): number {
  let bytes = ENVELOPE_BYTES;
  let count = 0;
  for (const event of events) {
    bytes += sizeOf(event);
    if (count > 0 && (bytes > limits.maxBytes || count >= limits.maxEvents)) return count;
    count += 1;
  }
  return count;
}

/** Asked when it comes, and when it is sealed. */
const sizes = new WeakMap<Event, number>();

/** Bytes that an event takes in a batch, at most. It does not change from then on. */
export function sizeOf(event: Event): number {
  let size = sizes.get(event);
  if (size === undefined) sizes.set(event, (size = Event.encode(event).finish().length + 4));
  return size;
}

/** The gap that dropping these events leaves, added to one that is there already. */
export function widened(gap: Gap | undefined, dropped: readonly Event[]): Gap | undefined {
  return dropped.reduce<Gap | undefined>((wide, { body, atMs }) => {
    const lost = body?.$case === "gap" ? body.value : { droppedEvents: 1, fromMs: atMs, toMs: atMs };
    if (wide === undefined) return { ...lost };
    return {
      droppedEvents: wide.droppedEvents + lost.droppedEvents,
      fromMs: Math.min(wide.fromMs, lost.fromMs),
      toMs: Math.max(wide.toMs, lost.toMs),
    };
  }, gap);
}

export interface Kept {
  /** In their order. */
  readonly events: readonly Event[];
  /** What was dropped, gaps among the events included. */
  readonly gap: Gap | undefined;
}

/** Drops routine events first, then the oldest of the others, until what is left fits into maxBytes. */
export function keepWithin(batches: readonly Uint8Array[], maxBytes: number): Kept {
  const events = batches.flatMap((batch) => ReportBatch.decode(batch).events);
  const isKept = (event: Event): boolean => !isRoutine(event) && event.body?.$case !== "gap";
  const kept = events.filter(isKept);
  const dropped = events.filter((event) => !isKept(event));
  let bytes = kept.reduce((sum, event) => sum + sizeOf(event), 0);
  let first = 0;
  for (; bytes > maxBytes && first < kept.length; first += 1) bytes -= sizeOf(kept[first]!);
  return { events: kept.slice(first), gap: widened(undefined, [...dropped, ...kept.slice(0, first)]) };
}
