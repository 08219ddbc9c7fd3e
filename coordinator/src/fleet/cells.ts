/**
 * Which cells are disrupted; pure. A cell is what may fail as one: a zone, a rack, a NATS server, a shard. When many nodes of a cell fall silent
 * together, what failed is probably what they share, and nobody in it is called unhealthy.
 */

/** One node as the cells see it. */
export interface CellMember {
  readonly nodeId: string;
  /** Keys of its cells, see cellsOf. */
  readonly cells: readonly string[];
  /** The smaller of the broker's view and our own. */
  readonly silenceMs: number;
  /** It counts on neither side: never seen, revoked, in maintenance, or unhealthy by its own word. */
  readonly isAside: boolean;
}

export interface DisruptedCell {
  /** Nodes that fell silent in this disruption and have not been heard since, however long ago that is. */
  readonly fallen: ReadonlySet<string>;
  /** Of how many. */
  readonly counted: number;
  /** Since when so few are silent that it could be over, monotonic; undefined: it could not. */
  readonly calmSinceMs: number | undefined;
}

/** Disrupted cells by key; what is not in it is calm. */
export type DisruptedCells = ReadonlyMap<string, DisruptedCell>;

/** With fewer of them in the whole fleet no cell becomes disrupted. */
export const MIN_FALLEN = 3;
const FALLEN_SHARE = 0.2;
const WINDOW_GRACES = 2;

/**
 * A node falls silent when half the grace has passed without a beat. That is before anybody could be called unhealthy: those that fell first are not
 * condemned while the others of their cell have a few seconds left. Newly: within the last 2 x grace. A node that has been silent for longer counts
 * on neither side, unless it fell in a disruption that is not over.
 */
export function suspectAfterMs(graceMs: number): number {
  return graceMs / 2;
}

/** How many of a cell's nodes must fall newly silent together. @param counted its nodes that count */
export function disruptionThreshold(counted: number): number {
  // 0.2 is no exact number in binary: 20 % of 15 nodes are 3, not 4.
  return Math.max(MIN_FALLEN, Math.ceil(counted * FALLEN_SHARE - 1e-9));
}

/**
 * The cells that are disrupted now. A cell becomes so when max(3, 20 %) or more of its nodes have fallen newly silent.
 * It is over when fewer than half as many of those that fell are still silent, for one whole grace: a rack whose nodes come back one by one
 * does not flicker. A rack that stays dark stays disrupted, and nobody there is called unhealthy, until its nodes are heard, revoked or deleted:
 * time alone proves nothing.
 */
export function disruptedCells(before: DisruptedCells, members: readonly CellMember[], graceMs: number, nowMs: number): DisruptedCells {
  if (before.size === 0 && !members.some((member) => isNewlySilent(member, graceMs))) return before;
  const tallies = new Map<string, { heard: number; readonly fallen: Set<string> }>();
  for (const member of members) {
    if (member.isAside) continue;
    const isSilent = member.silenceMs > suspectAfterMs(graceMs);
    const isNew = isNewlySilent(member, graceMs);
    for (const cell of member.cells) {
      let tally = tallies.get(cell);
      if (tally === undefined) tallies.set(cell, (tally = { heard: 0, fallen: new Set() }));
      if (!isSilent) tally.heard += 1;
      else if (isNew || before.get(cell)?.fallen.has(member.nodeId) === true) tally.fallen.add(member.nodeId);
    }
  }
  const after = new Map<string, DisruptedCell>();
  for (const cell of before.keys()) if (!tallies.has(cell)) tallies.set(cell, { heard: 0, fallen: new Set() });
  for (const [cell, { heard, fallen }] of tallies) {
    const counted = heard + fallen.size;
    const threshold = disruptionThreshold(counted);
    const held = before.get(cell);
    if (held === undefined) {
      if (fallen.size >= threshold) after.set(cell, { fallen, counted, calmSinceMs: undefined });
      continue;
    }
    const calmSinceMs = fallen.size * 2 < threshold ? (held.calmSinceMs ?? nowMs) : undefined;
    if (calmSinceMs === undefined || nowMs - calmSinceMs < graceMs) after.set(cell, { fallen, counted, calmSinceMs });
  }
  return after;
}

/** Whether it counts among those that fell together. */
export function isNewlySilent({ silenceMs, isAside }: Pick<CellMember, "silenceMs" | "isAside">, graceMs: number): boolean {
  const fellAgoMs = silenceMs - suspectAfterMs(graceMs);
  return !isAside && fellAgoMs > 0 && fellAgoMs <= WINDOW_GRACES * graceMs;
}
