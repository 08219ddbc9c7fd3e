import { X509Certificate } from "node:crypto";
import { type Clock, systemClock } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keys } from "../store/keys.ts";
import { memoryStore } from "../store/memory-store.ts";
import { CertificateAuthority, CLIENT_AUTH, DAY_MS, type Leaf } from "./certificate-authority.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine, MachineKey } from "./enrolment-fixture.ts";
import { createOperator, revokeOperator } from "./operators.ts";
import { Peers, type Subject, subjectOf } from "./peers.ts";
import { Catalog } from "../resources/catalog.ts";
import { type FollowedCatalog, followedCatalog } from "../resources/catalog-fixture.ts";
import { revokeNode } from "./revocation.ts";

const key = new MachineKey();

describe("Peers", () => {
  let fixture: EnrolmentFixture<Clock>;
  let peers: Peers;
  let followed: FollowedCatalog;
  beforeEach(async () => {
    fixture = await enrolmentFixture({ store: memoryStore({ historyRevisions: 20 }), clock: systemClock });
    followed = await followedCatalog(fixture.store);
    peers = new Peers({ ...fixture, catalog: followed.catalog });
  });
  afterEach(async () => {
    await followed[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  const enrol = async (): Promise<{ nodeId: string; certificate: Buffer }> => {
    const answer = await fixture.enrolment.enroll(await new Machine().enrollRequest(await fixture.token()), "127.0.0.1");
    if (!answer.ok) throw new Error(answer.message);
    return { nodeId: answer.nodeId, certificate: answer.credential.certificateChain[0]! };
  };
  const operator = async (name: string): Promise<Leaf> => {
    const made = await createOperator(fixture, { name, role: "operator", publicKey: key.publicKey, actor: "coordinator" });
    if (!made.ok) throw new Error(made.message);
    return made.leaf;
  };
  const revokedNext = (): Promise<Subject> => {
    const { promise, resolve } = Promise.withResolvers<Subject>();
    const forget = peers.onRevoked((subject) => {
      forget();
      resolve(subject);
    });
    return promise;
  };
  const reasonOf = (certificate: Uint8Array | undefined): string => {
    const identified = peers.identifyPeer(certificate);
    return identified.ok ? "ok" : identified.reason;
  };

  it("knows a node by its certificate as soon as it has it, and no more once it is revoked", async () => {
    const { nodeId, certificate } = await enrol();
    const serial = new X509Certificate(certificate).serialNumber.toLowerCase();
    expect(peers.identifyPeer(certificate)).toEqual({ ok: true, peer: { kind: "node", nodeId, certificateSerial: serial } });
    const revoked = revokedNext();
    await revokeNode({ ...fixture, bus: { revokeUser: async () => undefined } }, nodeId, "operator:ann", "");
    expect(await revoked).toEqual({ kind: "node", name: nodeId });
    expect(reasonOf(certificate)).toBe("Revoked");
  });

  it("knows an operator by the newest certificate only, with the role of the record", async () => {
    const first = await operator("ann");
    expect(peers.identifyPeer(first.chain[0])).toEqual({ ok: true, peer: { kind: "operator", name: "ann", role: "operator" } });
    const second = await operator("ann");
    expect([reasonOf(first.chain[0]), reasonOf(second.chain[0])]).toEqual(["Revoked", "ok"]);
    const revoked = revokedNext();
    expect(await revokeOperator(fixture, { name: "ann", actor: "operator:root" })).toEqual({ ok: true });
    expect(await revoked).toEqual({ kind: "operator", name: "ann" });
    expect(reasonOf(second.chain[0])).toBe("Revoked");
  });

  it("knows nobody without a certificate of ours, without a record, or past its end", async () => {
    await using other = await enrolmentFixture();
    const foreign = await other.authority.issueNode("abcdefghij", key.publicKey);
    const unrecorded = await fixture.authority.issueNode("abcdefghij", key.publicKey);
    const server = await fixture.authority.issueServer(["localhost"], key.publicKey);
    expect([undefined, foreign.chain[0], server.chain[0], unrecorded.chain[0]].map(reasonOf)).toEqual([
      "InvalidCertificate",
      "InvalidCertificate",
      "InvalidCertificate",
      "UnknownNode",
    ]);
    const { certificate } = await enrol();
    const later = new Peers({ ...fixture, catalog: followed.catalog, clock: { ...fixture.clock, now: () => Date.now() + 8 * DAY_MS } });
    expect(later.identifyPeer(certificate)).toMatchObject({ reason: "InvalidCertificate" });
  });

  it("knows nobody whose record is gone, and tells so", async () => {
    const { nodeId, certificate } = await enrol();
    const gone = revokedNext();
    await fixture.store.commit([{ type: "delete", key: keys.node(nodeId) }]);
    expect(await gone).toEqual({ kind: "node", name: nodeId });
    expect(reasonOf(certificate)).toBe("UnknownNode");
  });

  it("tells who was revoked while nobody followed, also when the store has forgotten those changes", async () => {
    const catalog = new Catalog(fixture.store);
    const late = new Peers({ ...fixture, catalog });
    const { nodeId, certificate } = await enrol();
    const before = new AbortController();
    const reading = catalog.run(before.signal);
    await catalog.reached(0);
    before.abort();
    await reading;
    expect(late.identifyPeer(certificate).ok).toBe(true);
    await fixture.store.commit([{ type: "delete", key: keys.node(nodeId) }]);
    for (let index = 0; index < 60; index += 1) await fixture.store.commit([{ type: "put", key: "x", value: Buffer.from("") }]);
    const gone = Promise.withResolvers<Subject>();
    late.onRevoked(gone.resolve);
    const after = new AbortController();
    const following = catalog.run(after.signal);
    expect(await gone.promise).toEqual({ kind: "node", name: nodeId });
    expect(late.identifyPeer(certificate).ok).toBe(false);
    after.abort();
    await following;
  });

  it("knows nobody before the records have been read", async () => {
    const { certificate } = await enrol();
    const early = new Peers({ ...fixture, catalog: new Catalog(fixture.store) });
    expect(early.identifyPeer(certificate)).toMatchObject({ reason: "UnknownNode" });
  });
});

describe("subjectOf", () => {
  it("takes a certificate for one name of ours and nothing else", async () => {
    const ca = await CertificateAuthority.load(await CertificateAuthority.generate(Date.now()));
    const named = async (...names: { type: "url" | "dns"; value: string }[]): Promise<Subject | undefined> => {
      const leaf = await ca.issue(key.publicKey, { commonName: "abcdefghij", names, usage: CLIENT_AUTH, lifeMs: DAY_MS }, Date.now());
      return subjectOf(new X509Certificate(leaf.chain[0]!));
    };
    expect(await named({ type: "url", value: "drover://node/abcdefghij" })).toEqual({ kind: "node", name: "abcdefghij" });
    expect(await named({ type: "url", value: "drover://operator/ann" })).toEqual({ kind: "operator", name: "ann" });
    for (const value of ["drover://node/ABCDEFGHIJ", "drover://node/x/abcdefghij", "drover://admin/ann", "https://node/abcdefghij"]) {
      expect(await named({ type: "url", value })).toBeUndefined();
    }
    expect(
      await named({ type: "url", value: "drover://node/abcdefghij" }, { type: "url", value: "drover://operator/ann" }),
    ).toBeUndefined();
    expect(await named({ type: "dns", value: "a" }, { type: "url", value: "drover://node/abcdefghij" })).toBeUndefined();
    expect(await named({ type: "dns", value: "a, URI:drover://node/abcdefghij" })).toBeUndefined();
  });
});
