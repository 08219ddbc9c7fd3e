/** The record of one run, line by line as it happens: virtual time, who, what. The same seed must give the same bytes. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { Clock } from "@drover/lifecycle";

export class Transcript {
  readonly #clock: Clock;
  readonly #lines: string[] = [];
  #traffic = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  say(actor: string, event: string): void {
    this.#lines.push(`${stamp(this.#clock.monotonicMs())} ${actor} ${event}`);
  }

  /** Too frequent for a line of its own: goes into the next state line as part of a running checksum. */
  count(actor: string, payload: Uint8Array): void {
    this.#traffic = crc32(payload, crc32(`${this.#clock.monotonicMs()} ${actor}`, this.#traffic));
  }

  /** One line with a digest of everything that the parts are made of now, and of the traffic so far. */
  state(parts: Iterable<string | Uint8Array>): void {
    const digest = createHash("sha256");
    for (const part of parts) digest.update(part).update("\0");
    this.say("world", `state ${digest.digest("hex").slice(0, 16)} traffic ${this.#traffic.toString(16).padStart(8, "0")}`);
  }

  get text(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}

/** 00:00:00.000 since the start of the simulation. */
function stamp(ms: number): string {
  const whole = Math.floor(ms);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${two(whole / 3_600_000)}:${two((whole / 60_000) % 60)}:${two((whole / 1000) % 60)}.${String(whole % 1000).padStart(3, "0")}`;
}
