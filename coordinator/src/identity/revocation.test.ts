import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listAudit } from "../audit/audit.ts";
import type { NodeRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import { readJson } from "../store/values.ts";
import { DAY_MS } from "./certificate-authority.ts";
import { type EnrolmentFixture, enrolmentFixture, Machine } from "./enrolment-fixture.ts";
import { keepRevoked, revokeNode } from "./revocation.ts";

describe("revocation", () => {
  let fixture: EnrolmentFixture;
  let revokedKeys: string[];
  let isBusDown: boolean;
  const bus = {
    revokeUser: async (publicKey: string): Promise<void> => {
      if (isBusDown) throw new Error("no connection");
      revokedKeys.push(publicKey);
    },
  };
  beforeEach(async () => {
    fixture = await enrolmentFixture();
    revokedKeys = [];
    isBusDown = false;
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const enrol = async (hostname: string): Promise<{ readonly nodeId: string; readonly natsPublicKey: string }> => {
    const machine = new Machine();
    const answer = await fixture.enrolment.enroll(await machine.enrollRequest(await fixture.token(), hostname), "127.0.0.1");
    if (!answer.ok) throw new Error(answer.message);
    return { nodeId: answer.nodeId, natsPublicKey: machine.natsPublicKey };
  };

  it("marks the record, audits it and cuts exactly this node, by name or by id", async () => {
    const [a, b, c] = [await enrol("a"), await enrol("b"), await enrol("c")];
    expect(await revokeNode({ ...fixture, bus }, "a", "operator:ann", "stolen")).toEqual({
      ok: true,
      nodeId: a.nodeId,
      isCutFromNats: true,
    });
    expect(await revokeNode({ ...fixture, bus }, b.nodeId, "operator:ann", "")).toMatchObject({ ok: true, nodeId: b.nodeId });
    expect(revokedKeys).toEqual([a.natsPublicKey, b.natsPublicKey]);
    const recordOf = async (nodeId: string): Promise<NodeRecord> => readJson((await fixture.store.get(keys.node(nodeId)))!) as NodeRecord;
    expect(await recordOf(a.nodeId)).toMatchObject({ revokedAtMs: fixture.clock.now(), revokedReason: "stolen" });
    expect((await recordOf(c.nodeId)).revokedAtMs).toBeUndefined();
    const audit = await listAudit(fixture.store, { limit: 0, actor: "operator:ann" });
    expect(audit.filter(({ action }) => action === "RevokeNode")).toHaveLength(2);
    expect(audit).toContainEqual(expect.objectContaining({ target: "Node/a", message: "stolen", outcome: "ok" }));
  });

  it("keeps the first reason when it is asked twice, and refuses what is not there", async () => {
    const { nodeId } = await enrol("a");
    await revokeNode({ ...fixture, bus }, "a", "operator:ann", "stolen");
    await revokeNode({ ...fixture, bus }, "a", "operator:bob", "because");
    expect(readJson((await fixture.store.get(keys.node(nodeId)))!)).toMatchObject({ revokedReason: "stolen" });
    for (const name of ["", "x", "aaaaaaaaaa", "a/b", "ä"]) {
      expect(await revokeNode({ ...fixture, bus }, name, "operator:ann", "")).toMatchObject({ ok: false, reason: "UnknownNode" });
    }
  });

  it("is for good when NATS is away, and NATS is told when it is back", async () => {
    const { nodeId, natsPublicKey } = await enrol("a");
    isBusDown = true;
    expect(await revokeNode({ ...fixture, bus }, "a", "operator:ann", "")).toEqual({ ok: true, nodeId, isCutFromNats: false });
    const controller = new AbortController();
    const running = keepRevoked({ ...fixture, bus }, controller.signal);
    await fixture.clock.advance(5000);
    expect(revokedKeys).toEqual([]);
    isBusDown = false;
    await fixture.clock.advance(60_000);
    expect(revokedKeys).toEqual([natsPublicKey]);
    const second = await enrol("b");
    isBusDown = true;
    await revokeNode({ ...fixture, bus }, "b", "operator:ann", "");
    isBusDown = false;
    await fixture.clock.advance(60_000);
    expect(revokedKeys).toEqual([natsPublicKey, second.natsPublicKey]);
    controller.abort();
    await running;
  });

  it("does not tell NATS of users whose JWT has ended by itself", async () => {
    await enrol("a");
    await revokeNode({ ...fixture, bus }, "a", "operator:ann", "");
    await fixture.clock.advance(8 * DAY_MS);
    const controller = new AbortController();
    const running = keepRevoked({ ...fixture, bus }, controller.signal);
    await fixture.clock.advance(1000);
    expect(revokedKeys).toHaveLength(1);
    controller.abort();
    await running;
  });
});
