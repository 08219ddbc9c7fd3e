/** Who the agents are: everything about them follows from the seed and their index, so that any process can make any of them. */
import { createHash } from "node:crypto";

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** 32 bytes that are this agent's for this purpose. */
export function derived(seed: number, purpose: string, index: number): Buffer {
  return createHash("sha256").update(`drover sim/${seed}/${purpose}/${index}`).digest();
}

/** As the coordinator makes them: 10 base32 characters. */
export function nodeIdOf(seed: number, index: number): string {
  const bytes = derived(seed, "node", index);
  let id = "";
  for (let at = 0; at < 10; at += 1) id += BASE32[bytes[at]! & 31]!;
  return id;
}

export function nodeNameOf(index: number): string {
  return `sim-${String(index).padStart(6, "0")}`;
}

/** Of the life-th outbox of the agent, 8 bytes. */
export function outboxEpochOf(seed: number, index: number, life: number): Buffer {
  return derived(seed, `outbox ${life}`, index).subarray(0, 8);
}

/** Its machine's address: 10.0.0.0/8, one each for 16 million. */
export function addressOf(index: number): string {
  const number = index + 1;
  return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
}

/** Distinct indexes of 0 to count - 1, a share of them, always the same for a seed and a draw; ascending. */
export function drawn(seed: number, draw: number, count: number, share: number): number[] {
  const wanted = Math.min(count, Math.round(count * share));
  const ranked = Array.from({ length: count }, (_, index) => index);
  let state = derived(seed, "draw", draw).readUInt32LE();
  for (let at = 0; at < wanted; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = at + Math.floor((state / 2 ** 32) * (count - at));
    [ranked[at], ranked[other]] = [ranked[other]!, ranked[at]!];
  }
  return ranked.slice(0, wanted).sort((a, b) => a - b);
}
