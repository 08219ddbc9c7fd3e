/** A disk with latency: writes take effect one after the other, and a crash leaves the first few of those under way. */
import type { Clock, Random } from "@drover/lifecycle";

interface Write {
  readonly perform: () => void;
}

export class Disk {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #latencyMs: number;
  #underWay: Write[] = [];
  #freeAtMs = 0;

  /** @param latencyMs of one durable write, at the mean */
  constructor(clock: Clock, random: Random, latencyMs: number) {
    this.#clock = clock;
    this.#random = random;
    this.#latencyMs = latencyMs;
  }

  /** Resolves when the effect is durable; never, when a crash came first. */
  write<T>(effect: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const write: Write = { perform: () => void effect().then(resolve, reject) };
      this.#underWay.push(write);
      const nowMs = this.#clock.monotonicMs();
      // Concurrent writes share one sync, as they do where it counts.
      if (this.#freeAtMs <= nowMs) this.#freeAtMs = nowMs + this.#latencyMs * (0.5 + this.#random.unit());
      this.#clock.setTimer(this.#freeAtMs - nowMs, () => {
        const at = this.#underWay.indexOf(write);
        if (at < 0) return;
        this.#underWay.splice(at, 1);
        write.perform();
      });
    });
  }

  crash(): void {
    const survivors = Math.floor(this.#random.unit() * (this.#underWay.length + 1));
    const underWay = this.#underWay;
    this.#underWay = [];
    for (const { perform } of underWay.slice(0, survivors)) perform();
  }
}
