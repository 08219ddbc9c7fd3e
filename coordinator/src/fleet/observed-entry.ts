/** One node of the fleet as it is looked at: made for each look, and what takes long to read is read when somebody asks for it. */
import type { Health, ObservedNode } from "./fleet.ts";
import type { Head } from "./told-values.ts";

export type ObservedParts = Pick<ObservedNode, "steps" | "conditions" | "drift" | "facts" | "images">;
/** What the entry itself knows beside what was reported. */
type Beat = Pick<ObservedNode, "beatGeneration" | "beatFlags" | "lastBeatAtMs" | "lastBeatBrokerMs"> & { readonly factsVersion: number };

export class ObservedEntry implements ObservedNode {
  readonly nodeId: string;
  readonly beatGeneration: number;
  readonly beatFlags: number;
  readonly lastBeatAtMs: number | undefined;
  readonly lastBeatBrokerMs: number | undefined;
  readonly lastReportUnixMs: number;
  readonly health: Health;
  readonly factsVersion: number;
  readonly #head: Head;
  readonly #parts: ObservedParts;

  constructor(nodeId: string, head: Head, beat: Beat, lastReportUnixMs: number, health: Health, parts: ObservedParts) {
    this.nodeId = nodeId;
    this.beatGeneration = beat.beatGeneration;
    this.beatFlags = beat.beatFlags;
    this.lastBeatAtMs = beat.lastBeatAtMs;
    this.lastBeatBrokerMs = beat.lastBeatBrokerMs;
    this.lastReportUnixMs = lastReportUnixMs;
    this.health = health;
    this.factsVersion = beat.factsVersion;
    this.#head = head;
    this.#parts = parts;
  }

  get planEpoch(): number {
    return this.#head.planEpoch;
  }
  get observedGeneration(): number {
    return this.#head.observedGeneration;
  }
  get outcome(): ObservedNode["outcome"] {
    return this.#head.outcome;
  }
  get reason(): string {
    return this.#head.reason;
  }
  get message(): string {
    return this.#head.message;
  }
  get failedStep(): string {
    return this.#head.failedStep;
  }
  get enforcedRevision(): string {
    return this.#head.enforcedRevision;
  }
  get enforcedAtUnixMs(): number {
    return this.#head.enforcedAtUnixMs;
  }
  get steps(): ObservedNode["steps"] {
    return this.#parts.steps;
  }
  get conditions(): ObservedNode["conditions"] {
    return this.#parts.conditions;
  }
  get drift(): ObservedNode["drift"] {
    return this.#parts.drift;
  }
  get facts(): ObservedNode["facts"] {
    return this.#parts.facts;
  }
  get images(): ObservedNode["images"] {
    return this.#parts.images;
  }
}
