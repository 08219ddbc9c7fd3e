/** Randomness as a port, for ids and jitter; secrets come from node:crypto directly, never from a seed. */
import { randomBytes } from "node:crypto";

export interface Random {
  /** Uniform in [0, 1). */
  unit(): number;
  bytes(count: number): Buffer;
}

let pool = Buffer.alloc(0);
let poolAt = 0;

/** The kernel's randomness. Jitter is asked for all the time: it is taken from some kilobytes at once. */
export const systemRandom: Random = {
  unit() {
    if (poolAt >= pool.length) [pool, poolAt] = [randomBytes(4_096), 0];
    const value = pool.readUInt32LE(poolAt);
    poolAt += 4;
    return value / 2 ** 32;
  },
  bytes: (count) => randomBytes(count),
};

/** The same seed gives the same sequence (mulberry32). For tests and simulation only. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const unit = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    unit,
    bytes: (count) => Buffer.from(Array.from({ length: count }, () => Math.floor(unit() * 256))),
  };
}

/** value +- share of it: jittered(1000, 0.1) is between 900 and 1100. */
export function jittered(random: Random, value: number, share: number): number {
  return value * (1 + share * (2 * random.unit() - 1));
}
