import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keyOfCsr, parseCertificate } from "./certificate-request.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine, MachineKey } from "./enrolment-fixture.ts";
import { Catalog } from "../resources/catalog.ts";
import { Peers, subjectOf } from "./peers.ts";

const ANYWHERE = "127.0.0.1";

describe("hostile bytes are refused and nothing throws", () => {
  let fixture: EnrolmentFixture;
  let csr: Buffer;
  let certificate: Buffer;
  beforeAll(async () => {
    fixture = await enrolmentFixture();
    csr = await new MachineKey().csr();
    certificate = (await fixture.authority.issueNode("abcdefghij", new MachineKey().publicKey)).chain[0]!;
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  /** Noise, honest DER with bytes changed, cut or repeated, and DER that nests without end. */
  const hostile = (): fc.Arbitrary<Buffer> => {
    const honest = fc.constantFrom(csr, certificate);
    const flips = fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 6 });
    return fc.oneof(
      fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(honest, flips).map(([der, changes]) => {
        const changed = Buffer.from(der);
        for (const [at, value] of changes) changed[at % changed.length] = value;
        return changed;
      }),
      fc.tuple(honest, fc.nat(600)).map(([der, length]) => der.subarray(0, length)),
      fc.tuple(honest, fc.uint8Array({ minLength: 1, maxLength: 40 })).map(([der, tail]) => Buffer.concat([der, tail])),
      fc.nat(8000).map((depth) => Buffer.from("3080".repeat(depth), "hex")),
      fc.constantFrom(
        Buffer.alloc(0),
        Buffer.alloc(100_000, 0x30),
        Buffer.from("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"),
      ),
    );
  };

  it("as CSRs", async () => {
    await fc.assert(
      fc.asyncProperty(hostile(), async (bytes) => {
        const key = await keyOfCsr(bytes);
        expect(key.ok || key.reason === "InvalidCsr").toBe(true);
      }),
      { numRuns: 1500 },
    );
  });

  it("as certificates, of which no changed one is ours", async () => {
    const peers = new Peers({ ...fixture, catalog: new Catalog(fixture.store) });
    await fc.assert(
      fc.asyncProperty(hostile(), async (bytes) => {
        const parsed = parseCertificate(bytes);
        if (parsed !== undefined) subjectOf(parsed);
        const isIssued = parsed !== undefined && fixture.authority.hasIssued(parsed);
        if (!bytes.equals(certificate)) expect(isIssued).toBe(false);
        expect(peers.identifyPeer(bytes).ok).toBe(false);
      }),
      { numRuns: 1500 },
    );
  });

  it("as requests", async () => {
    const token = await fixture.token();
    const honest = await new Machine().enrollRequest(token);
    await fc.assert(
      fc.asyncProperty(hostile(), hostile(), fc.string({ maxLength: 80 }), async (a, b, text) => {
        const proof = { csr: b, natsPublicKey: text, atMs: fixture.clock.now(), proof: a };
        const answers = [
          await fixture.enrolment.enroll({ ...honest, csr: a, natsPublicKey: text }, ANYWHERE),
          await fixture.enrolment.enroll({ ...honest, joinToken: text }, ANYWHERE),
          await fixture.enrolment.recover({ ...proof, certificate: a }, ANYWHERE),
          await fixture.enrolment.recover({ ...proof, certificate }, ANYWHERE),
          await fixture.enrolment.renew(
            { kind: "node", nodeId: text, certificateSerial: "" },
            { csr: a, natsPublicKey: text, renewalCounter: 0 },
          ),
        ];
        for (const answer of answers) expect(answer.ok).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});
