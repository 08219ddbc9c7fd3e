import "reflect-metadata";
import { randomBytes, X509Certificate } from "node:crypto";
import { systemClock } from "@drover/lifecycle";
import { type EnrollRequest, isNodeId } from "@drover/proto";
import * as x509 from "@peculiar/x509";
import fc from "fast-check";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { listAudit } from "../audit/audit.ts";
import type { NodeRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import { readJson } from "../store/values.ts";
import { DAY_MS, serialOf, spkiFingerprint } from "./certificate-authority.ts";
import { type CredentialAnswer, createEnrolment } from "./enrolment.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine, MachineKey, newNatsPublicKey } from "./enrolment-fixture.ts";
import { createJoinToken } from "./join-tokens.ts";
import { revokeNode } from "./revocation.ts";

const ANYWHERE = "127.0.0.1";
type Granted = Extract<CredentialAnswer, { ok: true }>;

function granted(answer: CredentialAnswer): Granted {
  if (!answer.ok) throw new Error(`${answer.reason}: ${answer.message}`);
  return answer;
}
const leafOf = (answer: Granted): X509Certificate => new X509Certificate(answer.credential.certificateChain[0]!);
const reasonOf = (answer: CredentialAnswer): string => (answer.ok ? "granted" : answer.reason);

describe("enrolment", () => {
  let fixture: EnrolmentFixture;
  beforeEach(async () => {
    fixture = await enrolmentFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const recordOf = async (nodeId: string): Promise<NodeRecord> => readJson((await fixture.store.get(keys.node(nodeId)))!) as NodeRecord;
  const objectOf = async (kind: string, name: string): Promise<Record<string, unknown> | undefined> => {
    const entry = await fixture.store.get(keys.object(kind, name));
    return entry && (readJson(entry) as Record<string, unknown>);
  };
  const audited = async (action: string): Promise<readonly string[]> =>
    (await listAudit(fixture.store, { limit: 1000, actor: "" }))
      .filter((entry) => entry.action === action)
      .map(({ outcome, message }) => `${outcome} ${message}`);
  const enrolled = async (machine = new Machine()): Promise<Granted & { readonly machine: Machine }> => {
    const request = await machine.enrollRequest(await fixture.token());
    return { ...granted(await fixture.enrolment.enroll(request, ANYWHERE)), machine };
  };
  const revoke = (nodeId: string): ReturnType<typeof revokeNode> =>
    revokeNode({ ...fixture, bus: { revokeUser: async () => undefined } }, nodeId, "operator:ann", "stolen");

  describe("enroll", () => {
    it("makes node, object, claim and audit record of one token", async () => {
      const machine = new Machine();
      const token = await fixture.token({ role: "worker" });
      const answer = granted(await fixture.enrolment.enroll(await machine.enrollRequest(token, "Rack7_Worker.example."), ANYWHERE));
      expect(isNodeId(answer.nodeId)).toBe(true);
      expect(leafOf(answer).subject).toBe(`CN=${answer.nodeId}`);
      expect(answer.credential).toMatchObject({
        natsUrls: ["tls://127.0.0.1:4222"],
        natsUserJwt: `${answer.nodeId}/${machine.natsPublicKey}/${Date.parse(leafOf(answer).validTo)}`,
        renewalCounter: 0,
        sessionEndpoint: "127.0.0.1:7443",
      });
      expect(await recordOf(answer.nodeId)).toMatchObject({
        name: "rack7-worker.example",
        keyFingerprint: spkiFingerprint(machine.key.publicKey),
        certificateSerial: serialOf(leafOf(answer)),
        natsPublicKey: machine.natsPublicKey,
      });
      expect(await objectOf("Node", "rack7-worker.example")).toMatchObject({
        metadata: { uid: answer.nodeId, labels: { role: "worker" } },
      });
      expect(await objectOf("JoinToken", token.split(".")[0]!)).toMatchObject({ status: { phase: "Used", node: "rack7-worker.example" } });
      expect(await audited("Enroll")).toHaveLength(1);
    });

    it("keeps no secret of a token anywhere in the store", async () => {
      const token = await fixture.token();
      await fixture.enrolment.enroll(await new Machine().enrollRequest(token), ANYWHERE);
      await fixture.enrolment.enroll(await new Machine().enrollRequest(token), ANYWHERE);
      const secret = token.split(".")[1]!;
      for (const { value } of (await fixture.store.list("")).entries) expect(Buffer.from(value).toString()).not.toContain(secret);
    });

    it("tells machines of one name apart by a suffix, also when they come at once", async () => {
      const requests = await Promise.all(Array.from({ length: 5 }, async () => new Machine().enrollRequest(await fixture.token(), "web")));
      await Promise.all(requests.map((request) => fixture.enrolment.enroll(request, ANYWHERE)));
      const names = (await fixture.store.list(keys.objectsOf("Node"))).entries.map(({ key }) => key);
      expect(names).toEqual(["web", "web-2", "web-3", "web-4", "web-5"].map((name) => keys.object("Node", name)));
    });

    it("names a machine whose name holds nothing usable by its id", async () => {
      const answer = granted(await fixture.enrolment.enroll(await new Machine().enrollRequest(await fixture.token(), "日本"), ANYWHERE));
      expect((await recordOf(answer.nodeId)).name).toBe(`node-${answer.nodeId}`);
    });

    it("answers a claim again for a week, and not for ever: a used token is no second way to recover", async () => {
      const request = await new Machine().enrollRequest(await fixture.token());
      granted(await fixture.enrolment.enroll(request, ANYWHERE));
      await fixture.clock.advance(6 * DAY_MS);
      expect(reasonOf(await fixture.enrolment.enroll(request, ANYWHERE))).toBe("granted");
      await fixture.clock.advance(2 * DAY_MS);
      expect(reasonOf(await fixture.enrolment.enroll(request, ANYWHERE))).toBe("TokenUsed");
    });

    it("gives the same node again to the same machine, whose answer was lost, and to no other", async () => {
      const machine = new Machine();
      const token = await fixture.token();
      const request = await machine.enrollRequest(token);
      const [first, again] = [await fixture.enrolment.enroll(request, ANYWHERE), await fixture.enrolment.enroll(request, ANYWHERE)];
      expect(granted(again).nodeId).toBe(granted(first).nodeId);
      expect((await recordOf(granted(again).nodeId)).certificateSerial).toBe(serialOf(leafOf(granted(again))));
      expect(reasonOf(await fixture.enrolment.enroll({ ...request, nonce: randomBytes(16) }, ANYWHERE))).toBe("TokenUsed");
      const stolen = { ...(await new Machine().enrollRequest(token)), nonce: request.nonce };
      expect(reasonOf(await fixture.enrolment.enroll(stolen, ANYWHERE))).toBe("TokenUsed");
      await revoke(granted(first).nodeId);
      expect(reasonOf(await fixture.enrolment.enroll(request, ANYWHERE))).toBe("Revoked");
    });

    it("refuses bad tokens, keys and nonces, changes nothing and audits it", async () => {
      const token = await fixture.token();
      const request = await new Machine().enrollRequest(token);
      const flipped = token.slice(0, -1) + (token.endsWith("A") ? "B" : "A");
      const refusals = {
        TokenInvalid: [{ joinToken: "" }, { joinToken: "a.b" }, { joinToken: flipped }, { joinToken: `aaaaaaaaaa.${"x".repeat(43)}` }],
        InvalidRequest: [{ nonce: Buffer.alloc(15) }, { bakeManifestDigest: "sha256:zz" }],
        InvalidCsr: [{ csr: Buffer.alloc(0) }, { csr: await new MachineKey("P-384").csr() }],
        InvalidNatsKey: [
          { natsPublicKey: "" },
          { natsPublicKey: request.natsPublicKey.replace("U", "A") },
          { natsPublicKey: `U${"A".repeat(55)}` },
        ],
      };
      for (const [reason, changes] of Object.entries(refusals)) {
        for (const change of changes) expect(reasonOf(await fixture.enrolment.enroll({ ...request, ...change }, ANYWHERE))).toBe(reason);
      }
      expect((await fixture.store.list(keys.nodes)).entries).toEqual([]);
      expect(await audited("Enroll")).toHaveLength(Object.values(refusals).flat().length);
      await fixture.clock.advance(3_600_000);
      expect(reasonOf(await fixture.enrolment.enroll(request, ANYWHERE))).toBe("TokenExpired");
    });

    it("takes no CSR that its own key has not signed", async () => {
      const request = await new Machine().enrollRequest(await fixture.token());
      const csr = Buffer.from(request.csr);
      // The last byte is of the signature.
      csr[csr.length - 1]! ^= 1;
      expect(reasonOf(await fixture.enrolment.enroll({ ...request, csr }, ANYWHERE))).toBe("InvalidCsr");
    });

    it("gives a NATS key to one node only, because revoking one must not cut another", async () => {
      const { machine } = await enrolled();
      const thief = { ...(await new Machine().enrollRequest(await fixture.token())), natsPublicKey: machine.natsPublicKey };
      expect(reasonOf(await fixture.enrolment.enroll(thief, ANYWHERE))).toBe("NatsKeyInUse");
    });

    it("does not let strangers fill the store with refusals", async () => {
      const request = await new Machine().enrollRequest("nonsense");
      for (let index = 0; index < 300; index += 1) await fixture.enrolment.enroll(request, ANYWHERE);
      expect((await audited("Enroll")).length).toBeLessThanOrEqual(100);
    });

    it("certifies by the record, whatever a CSR asks for", async () => {
      const names = fc.constantFrom("CN=admin", "CN=abcdefghij", "O=system:masters, CN=root", "CN=drover-coordinator");
      const extensions = fc.subarray([
        new x509.BasicConstraintsExtension(true, 5, true),
        new x509.SubjectAlternativeNameExtension([{ type: "url", value: "drover://operator/admin" }]),
        new x509.SubjectAlternativeNameExtension([{ type: "dns", value: "drover-coordinator" }]),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ]);
      await fc.assert(
        fc.asyncProperty(names, extensions, async (name, asked) => {
          const machine = new Machine();
          const request = { ...(await machine.enrollRequest(await fixture.token())), csr: await machine.key.csr(name, asked) };
          const answer = granted(await fixture.enrolment.enroll(request, ANYWHERE));
          const [certificate, record] = [leafOf(answer), await recordOf(answer.nodeId)];
          expect({
            subject: certificate.subject,
            names: certificate.subjectAltName,
            isCa: certificate.ca,
            usage: certificate.keyUsage,
            serial: serialOf(certificate),
            notAfterMs: Date.parse(certificate.validTo),
            key: spkiFingerprint(certificate.publicKey),
          }).toEqual({
            subject: `CN=${record.nodeId}`,
            names: `URI:drover://node/${record.nodeId}`,
            isCa: false,
            usage: ["1.3.6.1.5.5.7.3.2"],
            serial: record.certificateSerial,
            notAfterMs: record.certificateNotAfterMs,
            key: record.keyFingerprint,
          });
        }),
        { numRuns: 60 },
      );
    });
  });

  describe("renew", () => {
    const peerOf = (nodeId: string) => ({ kind: "node", nodeId, certificateSerial: "" }) as const;

    it("counts up and moves the record to the new key", async () => {
      const { nodeId, machine } = await enrolled();
      const next = new MachineKey();
      const answer = granted(await fixture.enrolment.renew(peerOf(nodeId), await machine.renewRequest(0, next)));
      expect(answer.credential.renewalCounter).toBe(1);
      expect(await recordOf(nodeId)).toMatchObject({
        renewalCounter: 1,
        keyFingerprint: spkiFingerprint(next.publicKey),
        certificateSerial: serialOf(leafOf(answer)),
      });
    });

    it("answers again when the answer was lost, to the same key only; another one is a clone and an alarm", async () => {
      const { nodeId, machine } = await enrolled();
      const request = await machine.renewRequest(0);
      expect(granted(await fixture.enrolment.renew(peerOf(nodeId), request)).credential.renewalCounter).toBe(1);
      expect(granted(await fixture.enrolment.renew(peerOf(nodeId), request)).credential.renewalCounter).toBe(1);
      for (const counter of [0, 2, 7]) {
        expect(reasonOf(await fixture.enrolment.renew(peerOf(nodeId), await machine.renewRequest(counter)))).toBe("CloneSuspected");
      }
      expect(await audited("CloneAlarm")).toHaveLength(3);
    });

    it("is for known, unrevoked nodes", async () => {
      const { nodeId, machine } = await enrolled();
      const request = await machine.renewRequest(0);
      expect(reasonOf(await fixture.enrolment.renew({ kind: "operator", name: "ann", role: "admin" }, request))).toBe("NotANode");
      expect(reasonOf(await fixture.enrolment.renew(peerOf("aaaaaaaaaa"), request))).toBe("UnknownNode");
      await revoke(nodeId);
      expect(reasonOf(await fixture.enrolment.renew(peerOf(nodeId), request))).toBe("Revoked");
    });

    it("remembers a NATS key that was changed while its JWT lives, and a revocation cuts it, too", async () => {
      const { nodeId, machine } = await enrolled();
      const natsPublicKey = newNatsPublicKey();
      granted(await fixture.enrolment.renew(peerOf(nodeId), { ...(await machine.renewRequest(0)), natsPublicKey }));
      const cut: string[] = [];
      const bus = { revokeUser: async (key: string) => void cut.push(key) };
      await revokeNode({ ...fixture, bus }, nodeId, "operator:ann", "");
      expect(cut.toSorted()).toEqual([natsPublicKey, machine.natsPublicKey].toSorted());
    });
  });

  describe("recover", () => {
    const expired = async (): Promise<Awaited<ReturnType<typeof enrolled>> & { readonly certificate: Buffer }> => {
      const node = await enrolled();
      await fixture.clock.advance(8 * DAY_MS);
      return { ...node, certificate: node.credential.certificateChain[0]! };
    };

    it("gives an expired certificate a successor once", async () => {
      const { nodeId, machine, certificate } = await expired();
      const next = new MachineKey();
      const answer = granted(
        await fixture.enrolment.recover(await machine.recoverRequest(certificate, fixture.clock.now(), { next }), ANYWHERE),
      );
      expect(answer.nodeId).toBe(nodeId);
      expect(await recordOf(nodeId)).toMatchObject({ keyFingerprint: spkiFingerprint(next.publicKey), renewalCounter: 1 });
      expect(reasonOf(await fixture.enrolment.recover(await machine.recoverRequest(certificate, fixture.clock.now()), ANYWHERE))).toBe(
        "AlreadyRecovered",
      );
      // The answer may have been lost: the key that was certified may ask again.
      const again = await machine.recoverRequest(certificate, fixture.clock.now(), { next });
      expect(granted(await fixture.enrolment.recover(again, ANYWHERE)).nodeId).toBe(nodeId);
      expect((await audited("Recover")).filter((line) => line.startsWith("ok"))).toHaveLength(2);
    });

    it("helps a node whose last renewal's answer was lost before it was offline", async () => {
      const { nodeId, machine, credential } = await enrolled();
      const pending = new MachineKey();
      const peer = { kind: "node", nodeId, certificateSerial: "" } as const;
      granted(await fixture.enrolment.renew(peer, await machine.renewRequest(0, pending)));
      await fixture.clock.advance(8 * DAY_MS);
      const certificate = credential.certificateChain[0]!;
      const foreign = await machine.recoverRequest(certificate, fixture.clock.now());
      expect(reasonOf(await fixture.enrolment.recover(foreign, ANYWHERE))).toBe("CertificateSuperseded");
      const own = await machine.recoverRequest(certificate, fixture.clock.now(), { next: pending });
      expect(granted(await fixture.enrolment.recover(own, ANYWHERE)).nodeId).toBe(nodeId);
    });

    it("never helps a revoked node", async () => {
      const { nodeId, machine, certificate } = await expired();
      await revoke(nodeId);
      expect(reasonOf(await fixture.enrolment.recover(await machine.recoverRequest(certificate, fixture.clock.now()), ANYWHERE))).toBe(
        "Revoked",
      );
    });

    it("is for certificates of ours, expired, and not for too long", async () => {
      const { machine, credential } = await enrolled();
      const certificate = credential.certificateChain[0]!;
      const at = async () =>
        reasonOf(await fixture.enrolment.recover(await machine.recoverRequest(certificate, fixture.clock.now()), ANYWHERE));
      expect(await at()).toBe("CertificateNotExpired");
      await fixture.clock.advance(97 * DAY_MS);
      expect(await at()).toBe("CertificateTooOld");
      await using other = await enrolmentFixture();
      const foreign = (await other.authority.issueNode("abcdefghij", machine.key.publicKey)).chain[0]!;
      const operator = (await fixture.authority.issueOperator("ann", machine.key.publicKey)).chain[0]!;
      for (const wrong of [foreign, operator, Buffer.alloc(0), Buffer.from("x"), fixture.authority.bundle[0]!]) {
        const request = await machine.recoverRequest(wrong, fixture.clock.now());
        expect(reasonOf(await fixture.enrolment.recover(request, ANYWHERE))).toBe("InvalidCertificate");
      }
    });

    it("wants a fresh proof by the certificate's own key over this very CSR", async () => {
      const { machine, certificate } = await expired();
      const nowMs = fixture.clock.now();
      const good = await machine.recoverRequest(certificate, nowMs);
      const thief = await machine.recoverRequest(certificate, nowMs, { signedBy: new MachineKey().privateKey });
      for (const bad of [
        thief,
        { ...good, csr: await new MachineKey().csr() },
        { ...good, atMs: nowMs + 1 },
        { ...good, proof: Buffer.alloc(0) },
      ]) {
        expect(reasonOf(await fixture.enrolment.recover(bad, ANYWHERE))).toBe("InvalidProof");
      }
      for (const atMs of [nowMs - 601_000, nowMs + 601_000]) {
        expect(reasonOf(await fixture.enrolment.recover(await machine.recoverRequest(certificate, atMs), ANYWHERE))).toBe(
          "ClockNotCredible",
        );
      }
      // None of these has used up the node's own tries.
      expect(granted(await fixture.enrolment.recover(good, ANYWHERE)).ok).toBe(true);
    });

    it("limits the rate per node", async () => {
      const { machine, certificate } = await expired();
      const next = new MachineKey();
      const request = await machine.recoverRequest(certificate, fixture.clock.now(), { next });
      const reasons = [];
      for (let index = 0; index < 5; index += 1) reasons.push(reasonOf(await fixture.enrolment.recover(request, ANYWHERE)));
      expect(reasons).toEqual(["granted", "granted", "granted", "RateLimited", "RateLimited"]);
    });
  });
});

describe("a join token claimed a thousand times at once", () => {
  let machines: readonly EnrollRequest[];
  beforeAll(async () => {
    machines = await Promise.all(Array.from({ length: 1000 }, () => new Machine().enrollRequest("")));
  }, 120_000);

  it.each([
    { when: "before the first answer", goal: "started" },
    { when: "at the first answer", goal: "answered" },
  ])("lets one machine win when the store is closed $when and opened again", { timeout: 120_000 }, async ({ goal }) => {
    await using fixture = await enrolmentFixture({ clock: systemClock });
    const path = `${fixture.directory}/store.db`;
    let store = openSqliteStore(path);
    const made = await createJoinToken({ ...fixture, store }, { ttlSeconds: 600, labels: {}, description: "", createdBy: "operator:ann" });
    if (!made.ok) throw new Error(made.message);
    const token = made.token.reveal();
    const requests = machines.map((request) => ({ ...request, joinToken: token }));
    const firstAnswer = Promise.withResolvers<void>();
    const claim = (half: typeof requests): Promise<string>[] => {
      const enrolment = createEnrolment({ ...fixture, store });
      return half.map(async (request) => {
        try {
          return reasonOf(await enrolment.enroll(request, ANYWHERE));
        } catch {
          // A store that closes under a claim is a coordinator that dies: the machine sees no answer.
          return "no answer";
        } finally {
          firstAnswer.resolve();
        }
      });
    };
    const before = claim(requests.slice(0, 500));
    await (goal === "answered" ? firstAnswer.promise : new Promise((resolve) => setImmediate(resolve)));
    await store.close();
    store = openSqliteStore(path);
    const outcomes = await Promise.all([...before, ...claim(requests.slice(500))]);
    expect(outcomes.filter((reason) => reason === "granted")).toHaveLength(1);
    expect((await store.list(keys.nodes)).entries).toHaveLength(1);
    expect((await store.list(keys.objectsOf("Node"))).entries).toHaveLength(1);
    await store.close();
  });
});
