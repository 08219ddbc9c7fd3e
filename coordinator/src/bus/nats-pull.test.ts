import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readReply, waitingBehind } from "./nats-pull.ts";

const word = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/);
const count = fc.integer({ min: 1, max: 2 ** 40 }).map(String);
const stampMs = fc.integer({ min: 1_000_000_000_000, max: 4_000_000_000_000 });
const nanos = fc.integer({ min: 0, max: 999_999 }).map((value) => String(value).padStart(6, "0"));

describe("the metadata in a reply subject", () => {
  it("is read as splitting reads it, with a domain and without", () => {
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 2, maxLength: 2 }),
        word,
        word,
        count,
        count,
        stampMs,
        nanos,
        fc.boolean(),
        (domain, stream, consumer, sequence, pending, ms, rest, hasDomain) => {
          const tokens = [
            "$JS",
            "ACK",
            ...(hasDomain ? domain : []),
            stream,
            consumer,
            "1",
            sequence,
            "7",
            `${ms}${rest}`,
            pending,
            ...(hasDomain ? ["token"] : []),
          ];
          expect(readReply(tokens.join("."))).toEqual({ streamSequence: Number(sequence), brokerMs: ms });
          expect(waitingBehind(tokens.join("."))).toBe(Number(pending));
        },
      ),
    );
  });
});
