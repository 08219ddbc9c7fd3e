/** One beat of at most 20 bytes per interval, at a slot of the node's own, and one at once when the generation changes. */
import { createHash } from "node:crypto";
import type { Clock } from "@drover/lifecycle";
import { type Budget, Heartbeat } from "@drover/proto";
import type { AgentBus } from "../ports.ts";

export interface BeatContent {
  readonly observedGeneration: number;
  /** What the state digest is over. */
  readonly stateText: string;
  /** Bits of beatFlags. */
  readonly flags: number;
}

export const beatFlags = { inSync: 1, applying: 2, failed: 4, drifted: 8, outboxPressed: 16 } as const;

export interface HeartbeatParts {
  readonly nodeId: string;
  readonly bus: Pick<AgentBus, "publishHeartbeat" | "isConnected">;
  readonly clock: Clock;
}

const DEFAULT_INTERVAL_MS = 10_000;
const MIN_INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 600_000;

export class Heartbeats {
  readonly #parts: HeartbeatParts;
  readonly #content: () => BeatContent;
  #intervalMs = DEFAULT_INTERVAL_MS;
  #seq = 0;
  #cancel: (() => void) | undefined;
  #slot: { readonly intervalMs: number; readonly ms: number } | undefined;
  #lastGeneration = -1;
  #digestOf = { text: "", value: 0 };

  constructor(parts: HeartbeatParts, content: () => BeatContent) {
    this.#parts = parts;
    this.#content = content;
  }

  takeBudget({ heartbeatIntervalMs }: Budget): void {
    if (heartbeatIntervalMs === 0) return;
    const intervalMs = Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, heartbeatIntervalMs));
    if (intervalMs === this.#intervalMs) return;
    this.#intervalMs = intervalMs;
    if (this.#cancel !== undefined) this.#schedule();
  }

  /** Beats at once when the generation is another one than in the last beat. */
  generationMayHaveChanged(): void {
    if (this.#cancel !== undefined && this.#content().observedGeneration !== this.#lastGeneration) this.#beat();
  }

  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#beat();
    this.#schedule();
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(): void {
    const { clock, nodeId } = this.#parts;
    this.#cancel?.();
    if (this.#slot?.intervalMs !== this.#intervalMs) this.#slot = { intervalMs: this.#intervalMs, ms: slotOf(nodeId, this.#intervalMs) };
    const sinceSlotMs = (((clock.now() - this.#slot.ms) % this.#intervalMs) + this.#intervalMs) % this.#intervalMs;
    this.#cancel = clock.setTimer(this.#intervalMs - sinceSlotMs, () => {
      this.#beat();
      this.#schedule();
    });
  }

  #beat(): void {
    const { observedGeneration, stateText, flags } = this.#content();
    this.#lastGeneration = observedGeneration;
    if (!this.#parts.bus.isConnected) return;
    this.#seq = (this.#seq + 1) >>> 0;
    this.#parts.bus.publishHeartbeat(
      Heartbeat.encode({ seq: this.#seq, observedGeneration, stateDigest: this.#digest(stateText), flags }).finish(),
    );
  }

  #digest(text: string): number {
    if (this.#digestOf.text !== text) this.#digestOf = { text, value: createHash("sha256").update(text).digest().readUInt32LE() };
    return this.#digestOf.value;
  }
}

/** Where in the interval a node beats, in ms: stable, and spread so that neighbours do not fire together. */
export function slotOf(nodeId: string, intervalMs: number): number {
  return createHash("sha256").update(`slot ${nodeId}`).digest().readUInt32LE() % intervalMs;
}
