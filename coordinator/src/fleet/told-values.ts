/**
 * What nodes have reported, packed: of 100,000 nodes nearly all tell the same, and nearly all are silent for hours. By a node's dense index, in three
 * parts, because they change and are asked for apart: facts, images, and the rest.
 */
import { deserialize, serialize } from "node:v8";
import { Facts, ImageInventory } from "@drover/proto";
import { type PackedColumns, PackedValues } from "../packed/packed-values.ts";
import type { ObservedNode } from "./fleet.ts";
import type { OutboxCursors, ReportedNode } from "./fold.ts";
import type { ObservedParts } from "./observed-entry.ts";

/** The small part of a report that is asked for all the time; equal ones are the same object. */
export interface Head {
  readonly planEpoch: number;
  readonly observedGeneration: number;
  readonly outcome: ReportedNode["outcome"];
  readonly reason: string;
  readonly message: string;
  readonly failedStep: string;
  readonly enforcedRevision: string;
  readonly enforcedAtUnixMs: number;
  /** Reason of the first condition by which the node itself says that it is broken; empty: none. */
  readonly brokenBy: string;
  /** How many entries its drift has. */
  readonly driftCount: number;
}

export interface Told {
  readonly reported: ReportedNode;
  readonly cursors: OutboxCursors;
}

type Rest = Pick<ObservedNode, "steps" | "conditions" | "drift"> & { readonly cursors: OutboxCursors };

/** What makes a node unhealthy by its own word; conditions that only warn (a runtime that ignores pins, say) do not. */
const DECISIVE_CONDITIONS: ReadonlySet<string> = new Set(["Sysctl", "Containerd"]);
const MAX_HEADS = 10_000;
const NO_BYTES = new Uint8Array(0);

export class ToldValues {
  readonly #heads = new Map<string, Head>();
  readonly #facts: PackedValues;
  readonly #images: PackedValues;
  readonly #rest: PackedValues;

  constructor(columns?: readonly PackedColumns[]) {
    this.#facts = new PackedValues(columns?.[0]);
    this.#images = new PackedValues(columns?.[1]);
    this.#rest = new PackedValues(columns?.[2]);
  }

  /** Parts of a snapshot: what they refer to stays as it is. */
  columns(): readonly PackedColumns[] {
    return [this.#facts.columns(), this.#images.columns(), this.#rest.columns()];
  }

  headOf({
    planEpoch,
    observedGeneration,
    outcome,
    reason,
    message,
    failedStep,
    enforcedRevision,
    enforcedAtUnixMs,
    conditions,
    drift,
  }: ReportedNode): Head {
    const brokenBy = conditions.find(({ status, type }) => status === "False" && DECISIVE_CONDITIONS.has(type))?.reason ?? "";
    return this.share({
      planEpoch,
      observedGeneration,
      outcome,
      reason,
      message,
      failedStep,
      enforcedRevision,
      enforcedAtUnixMs,
      brokenBy,
      driftCount: drift.length,
    });
  }

  share(head: Head): Head {
    const text = JSON.stringify(Object.values(head));
    const known = this.#heads.get(text);
    if (known !== undefined) return known;
    if (this.#heads.size >= MAX_HEADS) this.#heads.clear();
    this.#heads.set(text, head);
    return head;
  }

  /** @param before what was packed or unpacked last, of which equal parts stay; undefined: all is new */
  pack(index: number, { reported, cursors }: Told, before: ReportedNode | undefined): void {
    const { steps, conditions, drift, facts, images } = reported;
    const rest: Rest = { steps, conditions, drift, cursors };
    this.#rest.set(index, serialize(rest));
    if (before === undefined || before.facts !== facts)
      this.#facts.set(index, facts === undefined ? NO_BYTES : Facts.encode(facts).finish());
    if (before === undefined || before.images !== images) {
      this.#images.set(
        index,
        images.length === 0 ? NO_BYTES : ImageInventory.encode(ImageInventory.create({ images: [...images] })).finish(),
      );
    }
  }

  unpack(index: number, head: Head): Told {
    const { steps, conditions, drift, cursors } = this.rest(index);
    const { brokenBy: _, driftCount: __, ...told } = head;
    return { reported: { ...told, steps, conditions, drift, facts: this.facts(index), images: this.images(index) }, cursors };
  }

  /** As it is when it is asked for, which is in the same turn. */
  lazily(index: number, { driftCount }: Head): ObservedParts {
    return new LazyParts(this, index, driftCount > 0);
  }

  has(index: number): boolean {
    return this.#rest.has(index);
  }

  rest(index: number): Rest {
    // Of a node that was deleted meanwhile.
    if (!this.#rest.has(index)) return { steps: [], conditions: [], drift: [], cursors: [] };
    // Copied, because what is read may point into it.
    return deserialize(this.#rest.get(index).slice()) as Rest;
  }

  facts(index: number): Facts | undefined {
    const bytes = this.#facts.has(index) ? this.#facts.get(index) : NO_BYTES;
    return bytes.length === 0 ? undefined : Facts.decode(bytes.slice());
  }

  images(index: number): ReportedNode["images"] {
    const bytes = this.#images.has(index) ? this.#images.get(index) : NO_BYTES;
    return bytes.length === 0 ? [] : ImageInventory.decode(bytes.slice()).images;
  }

  delete(index: number): void {
    for (const values of [this.#facts, this.#images, this.#rest]) values.delete(index);
  }
}

class LazyParts implements ObservedParts {
  readonly #told: ToldValues;
  readonly #index: number;
  readonly #hasDrift: boolean;
  #read: Rest | undefined;
  #facts: Facts | undefined;
  #isFactsRead = false;

  constructor(told: ToldValues, index: number, hasDrift: boolean) {
    this.#told = told;
    this.#index = index;
    this.#hasDrift = hasDrift;
  }

  get steps(): ObservedParts["steps"] {
    return this.#rest().steps;
  }
  get conditions(): ObservedParts["conditions"] {
    return this.#rest().conditions;
  }
  get drift(): ObservedParts["drift"] {
    return this.#hasDrift ? this.#rest().drift : [];
  }
  get facts(): ObservedParts["facts"] {
    if (!this.#isFactsRead) [this.#facts, this.#isFactsRead] = [this.#told.facts(this.#index), true];
    return this.#facts;
  }
  get images(): ObservedParts["images"] {
    return this.#told.images(this.#index);
  }

  #rest(): Rest {
    return (this.#read ??= this.#told.rest(this.#index));
  }
}
