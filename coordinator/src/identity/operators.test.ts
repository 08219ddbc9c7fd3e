import { X509Certificate } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listAudit } from "../audit/audit.ts";
import { keys } from "../store/keys.ts";
import { readJson } from "../store/values.ts";
import { serialOf } from "./certificate-authority.ts";
import { type EnrolmentFixture, enrolmentFixture, MachineKey } from "./enrolment-fixture.ts";
import { createOperator, revokeOperator } from "./operators.ts";

describe("operators", () => {
  let fixture: EnrolmentFixture;
  beforeEach(async () => {
    fixture = await enrolmentFixture();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("are recorded with role and serial, certified for their key, and audited", async () => {
    const { publicKey } = new MachineKey();
    const made = await createOperator(fixture, { name: "ann", role: "approver", publicKey, actor: "coordinator" });
    if (!made.ok) throw new Error(made.message);
    const certificate = new X509Certificate(made.leaf.chain[0]!);
    expect(certificate.publicKey.equals(publicKey)).toBe(true);
    expect(readJson((await fixture.store.get(keys.operator("ann")))!)).toMatchObject({
      role: "approver",
      certificateSerial: serialOf(certificate),
    });
    expect(await listAudit(fixture.store, { limit: 1, actor: "" })).toMatchObject([{ action: "CreateOperator", target: "Operator/ann" }]);
  });

  it("have names that fit into a URI, and P-256 keys", async () => {
    for (const name of ["", "Ann", "a/b", "a b", "-a", "a\n", "a".repeat(64)]) {
      const asked = { name, role: "viewer", publicKey: new MachineKey().publicKey, actor: "coordinator" } as const;
      expect(await createOperator(fixture, asked)).toMatchObject({ ok: false, reason: "InvalidRequest" });
    }
    const weak = { name: "ann", role: "viewer", publicKey: new MachineKey("P-384").publicKey, actor: "coordinator" } as const;
    expect(await createOperator(fixture, weak)).toMatchObject({ ok: false });
    expect(await revokeOperator(fixture, { name: "nobody", actor: "operator:ann" })).toMatchObject({ ok: false });
  });
});
