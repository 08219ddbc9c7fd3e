import { Heartbeat } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BeatFields, readBeat } from "./read-beat.ts";

const used = (): BeatFields => ({ seq: 9, observedGeneration: 9, stateDigest: 9, flags: 9 });

/** What the generated decoder makes of it; undefined: it throws. */
function generated(bytes: Uint8Array): BeatFields | undefined {
  try {
    const { seq, observedGeneration, stateDigest, flags } = Heartbeat.decode(bytes);
    return { seq, observedGeneration, stateDigest, flags };
  } catch {
    return undefined;
  }
}

function read(bytes: Uint8Array): BeatFields | undefined {
  const into = used();
  if (!readBeat(bytes, into)) return undefined;
  const { seq, observedGeneration, stateDigest, flags } = into;
  return { seq, observedGeneration, stateDigest, flags };
}

const uint32 = fc.nat(0xffff_ffff);
const beat = fc.record({ seq: uint32, observedGeneration: fc.nat(Number.MAX_SAFE_INTEGER), stateDigest: uint32, flags: uint32 });

describe("a heartbeat read from its bytes", () => {
  it("is what the generated decoder makes of every beat that can be encoded", () => {
    fc.assert(
      fc.property(beat, (fields) => {
        expect(read(Heartbeat.encode(fields).finish())).toEqual(fields);
      }),
      { numRuns: 2_000 },
    );
  });

  it("and of every beat with bytes changed, cut off or added", () => {
    const damage = fc.array(fc.tuple(fc.nat(30), fc.nat(255)), { maxLength: 3 });
    fc.assert(
      fc.property(beat, damage, fc.nat(24), fc.uint8Array({ maxLength: 12 }), (fields, changes, cut, added) => {
        const whole = Heartbeat.encode(fields).finish();
        const bytes = Buffer.concat([whole.subarray(0, Math.max(0, whole.length - (cut > 20 ? cut - 20 : 0))), added]);
        for (const [index, value] of changes) if (index < bytes.length) bytes[index] = value;
        expect(read(bytes)).toEqual(generated(bytes));
      }),
      { numRuns: 5_000 },
    );
  });
});
