/** Beside the verdicts: which cells are disrupted since when, and which silent nodes the second path is to be asked about. */
import type { Clock, Log } from "@drover/lifecycle";
import {
  type CellMember,
  type DisruptedCells,
  disruptedCells,
  disruptionThreshold,
  isNewlySilent,
  MIN_FALLEN,
  suspectAfterMs,
} from "./cells.ts";
import type { Disruption } from "./disruption.ts";
import type { NodeSigns } from "./health.ts";
import type { Suspects } from "./suspects.ts";

export interface CellWatchOptions {
  /** Keys of the cells that the node is in. */
  readonly cellsOf: (nodeId: string) => readonly string[];
  /** undefined: nobody has a second path, and silence ends in unknown. Run by somebody else. */
  readonly suspects?: Pick<Suspects, "suspect" | "opinionOf"> | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface LookedAt {
  readonly nodeId: string;
  readonly silenceMs: number;
  /** It was heard once, and is not revoked. */
  readonly isKnown: boolean;
  /** By its own word. */
  readonly isBroken: boolean;
}

/** Cells gain and lose nodes: so often they are counted again while nodes fall silent. */
const RECOUNT_MS = 60_000;

export class CellWatch {
  readonly #options: CellWatchOptions;
  #cells: DisruptedCells = new Map();
  #suspects: ReadonlySet<string> = new Set();
  readonly #sinceUnixMs = new Map<string, number>();
  /** Nodes that count, by cell, as of the last look at all of them. */
  #counted: { readonly byCell: ReadonlyMap<string, number>; readonly atMs: number } = { byCell: new Map(), atMs: -Infinity };

  constructor(options: CellWatchOptions) {
    this.#options = options;
  }

  get disruptedCount(): number {
    return this.#cells.size;
  }

  /** As people read them: "zone a". */
  get disruptedCells(): readonly string[] {
    return [...this.#cells.keys()].sort();
  }

  get suspectCount(): number {
    return this.#suspects.size;
  }

  disruptionOf(nodeId: string): Disruption | undefined {
    if (this.#cells.size === 0) return undefined;
    const cell = this.#options.cellsOf(nodeId).find((key) => this.#cells.has(key));
    return cell === undefined ? undefined : { cell, sinceUnixMs: this.#sinceUnixMs.get(cell) ?? 0 };
  }

  opinionOf(nodeId: string): NodeSigns["secondPath"] {
    return this.#suspects.has(nodeId) ? (this.#options.suspects?.opinionOf(nodeId) ?? "none") : "none";
  }

  /**
   * @param few at least every node that is silent for longer than suspectAfterMs; @param all every node: asked for when cells are in question, which
   * spares 100,000 nodes a look at their labels
   * @returns the nodes of cells that are disrupted now and were not, or the other way round
   */
  look(few: readonly LookedAt[], all: () => readonly LookedAt[], graceMs: number, nowMs: number): readonly string[] {
    const { suspects } = this.#options;
    this.#suspects = new Set(
      few.filter(({ isKnown, silenceMs }) => isKnown && silenceMs > suspectAfterMs(graceMs)).map(({ nodeId }) => nodeId),
    );
    const turned = this.#mayTurn(few, graceMs, nowMs) ? this.#lookAtCells(all(), graceMs, nowMs) : [];
    // In a disrupted cell the answer would change nothing: the others are asked about sooner.
    suspects?.suspect(new Set([...this.#suspects].filter((nodeId) => this.disruptionOf(nodeId) === undefined)), graceMs);
    return turned;
  }

  /** Whether a look at all nodes could end otherwise than the last one did; with twice the room that the last count of a cell needs. */
  #mayTurn(few: readonly LookedAt[], graceMs: number, nowMs: number): boolean {
    if (this.#cells.size > 0) return true;
    if (this.#suspects.size < MIN_FALLEN) return false;
    const fallen = new Map<string, number>();
    for (const member of few.map((node) => this.#memberOf(node))) {
      if (isNewlySilent(member, graceMs)) for (const cell of member.cells) fallen.set(cell, (fallen.get(cell) ?? 0) + 1);
    }
    if (fallen.size > 0 && nowMs - this.#counted.atMs > RECOUNT_MS) return true;
    return [...fallen].some(([cell, count]) => count * 2 >= disruptionThreshold(this.#counted.byCell.get(cell) ?? 0));
  }

  #memberOf({ nodeId, silenceMs, isKnown, isBroken }: LookedAt): CellMember {
    return { nodeId, cells: this.#options.cellsOf(nodeId), silenceMs, isAside: !isKnown || isBroken };
  }

  #lookAtCells(nodes: readonly LookedAt[], graceMs: number, nowMs: number): readonly string[] {
    const members = nodes.map((node) => this.#memberOf(node));
    const byCell = new Map<string, number>();
    for (const member of members) {
      if (member.isAside || (member.silenceMs > suspectAfterMs(graceMs) && !isNewlySilent(member, graceMs))) continue;
      for (const cell of member.cells) byCell.set(cell, (byCell.get(cell) ?? 0) + 1);
    }
    this.#counted = { byCell, atMs: nowMs };
    const before = this.#cells;
    this.#cells = disruptedCells(before, members, graceMs, nowMs);
    const turned = this.#turned(before);
    return turned.size === 0 ? [] : members.filter(({ cells }) => cells.some((cell) => turned.has(cell))).map(({ nodeId }) => nodeId);
  }

  #turned(before: DisruptedCells): ReadonlySet<string> {
    const { clock, log } = this.#options;
    const turned = new Set<string>();
    for (const [cell, { fallen, counted }] of this.#cells) {
      if (before.has(cell)) continue;
      turned.add(cell);
      this.#sinceUnixMs.set(cell, clock.now());
      log.error({ cell, silent: fallen.size, nodes: counted }, "many nodes fell silent together: nobody there is called dead or moved");
    }
    for (const cell of before.keys()) {
      if (this.#cells.has(cell)) continue;
      turned.add(cell);
      this.#sinceUnixMs.delete(cell);
      log.info({ cell }, "a cell is not disrupted any more");
    }
    return turned;
  }
}
