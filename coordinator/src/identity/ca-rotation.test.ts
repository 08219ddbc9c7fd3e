import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type AuditEntry, type NodeRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import { putJson, readJson } from "../store/values.ts";
import { beginRotation, promoteSuccessor, rotationStatus } from "./ca-rotation.ts";
import { DAY_MS } from "./certificate-authority.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine, MachineKey } from "./enrolment-fixture.ts";
import { createOperator } from "./operators.ts";

const ACTOR = "coordinator";

describe("rotating the CA", () => {
  let fixture: EnrolmentFixture;
  beforeEach(async () => {
    fixture = await enrolmentFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  async function enrol(hostname: string): Promise<{ machine: Machine; nodeId: string }> {
    const machine = new Machine();
    const answer = await fixture.enrolment.enroll(await machine.enrollRequest(await fixture.token(), hostname), "127.0.0.1");
    if (!answer.ok) throw new Error(answer.message);
    return { machine, nodeId: answer.nodeId };
  }

  async function renew({ machine, nodeId }: { machine: Machine; nodeId: string }): Promise<void> {
    const peer = { kind: "node", nodeId, certificateSerial: "" } as const;
    const answer = await fixture.enrolment.renew(peer, await machine.renewRequest(0));
    if (!answer.ok) throw new Error(answer.message);
    expect(answer.credential.caBundle).toHaveLength(2);
  }

  async function audit(): Promise<readonly AuditEntry[]> {
    return (await fixture.store.list(keys.audits)).entries.map((entry) => readJson(entry) as AuditEntry);
  }

  it("is refused while a node or an operator does not hold the successor, by count and name, and audited", async () => {
    const [first, second] = [await enrol("one"), await enrol("two")];
    const ann = { name: "ann", role: "admin", publicKey: new MachineKey().publicKey, actor: ACTOR } as const;
    await createOperator(fixture, ann);
    expect((await rotationStatus(fixture)).successor).toBeUndefined();
    expect(await promoteSuccessor(fixture, ACTOR, false)).toMatchObject({ ok: false, message: expect.stringContaining("--begin") });
    const oldPin = fixture.authority.pin;
    expect(await beginRotation(fixture, ACTOR)).toMatchObject({ ok: true, status: { nodes: { holding: [], lacking: ["one", "two"] } } });
    expect(await beginRotation(fixture, ACTOR)).toMatchObject({ ok: false, message: expect.stringContaining("--status") });
    await renew(first);
    const refused = await promoteSuccessor(fixture, ACTOR, false);
    expect(refused).toMatchObject({ ok: false, message: expect.stringMatching(/1 of 2 nodes and 1 of 1 operators.*\n.*two.*\n.*ann/) });
    expect(fixture.authority.pin).toBe(oldPin);
    await renew(second);
    await createOperator(fixture, ann);
    expect(await promoteSuccessor(fixture, ACTOR, false)).toMatchObject({ ok: true });
    expect(fixture.authority.pin).not.toBe(oldPin);
    expect((await rotationStatus(fixture)).successor).toBeUndefined();
    const rotation = (await audit()).filter(({ target }) => target.startsWith("CertificateAuthority/sha256:"));
    expect(rotation.map(({ action, outcome }) => `${action} ${outcome}`).sort()).toEqual([
      "BeginCaRotation ok",
      "PromoteCa ok",
      "PromoteCa refused",
    ]);
  });

  it("does not wait for nodes that are revoked or gone for good, and goes on by force", async () => {
    const [revoked, gone] = [await enrol("revoked"), await enrol("gone")];
    const change = async (nodeId: string, values: Partial<NodeRecord>): Promise<void> => {
      const entry = (await fixture.store.get(keys.node(nodeId)))!;
      await fixture.store.commit([putJson(keys.node(nodeId), { ...(readJson(entry) as NodeRecord), ...values }, entry.revision)]);
    };
    await beginRotation(fixture, ACTOR);
    await change(revoked.nodeId, { revokedAtMs: fixture.clock.now() });
    expect((await rotationStatus(fixture)).nodes.lacking).toEqual(["gone"]);
    expect(await promoteSuccessor(fixture, ACTOR, false)).toMatchObject({ ok: false });
    await change(gone.nodeId, { certificateNotAfterMs: fixture.clock.now() - 91 * DAY_MS });
    expect((await rotationStatus(fixture)).nodes).toEqual({ holding: [], lacking: [] });
    await enrol("late");
    await change(gone.nodeId, { certificateNotAfterMs: fixture.clock.now() });
    expect(await promoteSuccessor(fixture, ACTOR, true)).toMatchObject({ ok: true });
    expect((await audit()).filter(({ message }) => message.startsWith("forced"))[0]).toMatchObject({
      action: "PromoteCa",
      outcome: "ok",
      message: expect.stringMatching(/^forced; 1 of 2 nodes/),
    });
  });
});
