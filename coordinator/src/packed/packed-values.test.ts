import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { PackedValues } from "./packed-values.ts";
import { Template, worstCase } from "./template.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const hex = (seed: string): string => createHash("sha256").update(seed).digest("hex");
const recordOf = (index: number, filling = "the same for all of them, "): string =>
  JSON.stringify({
    nodeId: hex(`n${index}`).slice(0, 10),
    key: hex(`k${index}`),
    atMs: 1_700_000_000_000 + index,
    plan: filling.repeat(40),
    index,
  });

describe("a value told by its template", () => {
  const random = (() => {
    let state = 7;
    return (below: number): number => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) % below;
  })();

  it("comes back as it was, whatever was put in, taken out, repeated or moved", () => {
    for (let round = 0; round < 2_000; round += 1) {
      const base = Buffer.from(Array.from({ length: random(400) }, () => random(4) + 97));
      let value = Buffer.from(base);
      for (let edit = random(6); edit > 0; edit -= 1) {
        const at = random(value.length + 1);
        const taken = value.subarray(at + random(20));
        const added =
          random(2) === 0 ? Buffer.from(Array.from({ length: random(30) }, () => random(256))) : base.subarray(random(base.length + 1));
        value = Buffer.concat([value.subarray(0, at), added, taken]);
      }
      const template = new Template(base);
      const out = new Uint8Array(worstCase(value.length));
      const packed = out.slice(0, template.encode(value, out));
      const back = new Uint8Array(value.length);
      expect(template.decode(packed, back)).toBe(value.length);
      expect(Buffer.from(back).equals(value)).toBe(true);
    }
  });

  it("is short where little differs", () => {
    const template = new Template(Buffer.from(recordOf(1)));
    const value = Buffer.from(recordOf(2));
    expect(template.encode(value, new Uint8Array(worstCase(value.length)))).toBeLessThan(110);
  });
});

describe("packed values", () => {
  it("gives back each value as it was set last, and none that was deleted", () => {
    const values = new PackedValues();
    const held = new Map<number, string>();
    for (let step = 0; step < 20_000; step += 1) {
      const slot = (step * 7_919) % 997;
      if (step % 11 === 0) {
        values.delete(slot);
        held.delete(slot);
        continue;
      }
      const value = step % 501 === 0 ? "" : recordOf(step, `a filling of kind ${step % 3} and round ${Math.floor(step / 5_000)}, `);
      values.set(slot, Buffer.from(value));
      held.set(slot, value);
    }
    for (let slot = 0; slot < 1_100; slot += 1) {
      expect(values.has(slot)).toBe(held.has(slot));
      if (held.has(slot)) expect(text(values.get(slot))).toBe(held.get(slot));
      else expect(() => values.get(slot)).toThrow(RangeError);
    }
  });

  it("takes a small part of the room, also after all was replaced by another kind many times", () => {
    const values = new PackedValues();
    for (let round = 0; round < 200; round += 1) {
      for (let slot = 0; slot < 200; slot += 1) values.set(slot, Buffer.from(recordOf(slot + round, `${hex(String(round))} and so on, `)));
    }
    for (let slot = 0; slot < 200; slot += 1) expect(text(values.get(slot))).toBe(recordOf(slot + 199, `${hex("199")} and so on, `));
    expect(values.bytes).toBeLessThanOrEqual(2 << 20);
  });

  it("keeps what is like nothing else, and what is larger than a chunk", () => {
    const values = new PackedValues();
    const noise = (index: number): Buffer =>
      Buffer.concat(Array.from({ length: 40 }, (_, part) => Buffer.from(hex(`${index}/${part}`), "hex")));
    for (let slot = 0; slot < 300; slot += 1) values.set(slot, noise(slot));
    const large = Buffer.alloc(3 << 20, "large ");
    values.set(300, large);
    values.set(301, noise(301));
    for (let slot = 0; slot < 300; slot += 1) expect(Buffer.from(values.get(slot)).equals(noise(slot))).toBe(true);
    expect(Buffer.from(values.get(300)).equals(large)).toBe(true);
    expect(Buffer.from(values.get(301)).equals(noise(301))).toBe(true);
  });
});
