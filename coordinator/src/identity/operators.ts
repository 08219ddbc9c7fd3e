/** People and their tools: made on the coordinator's own machine, known by client certificate, with one role each. */
import type { KeyObject } from "node:crypto";
import type { Clock, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { OperatorRecord, Role } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import type { Authority } from "./authority.ts";
import type { Leaf } from "./certificate-authority.ts";
import { isP256 } from "./certificate-request.ts";
import { isOperatorName } from "./operator-names.ts";
import { type Refusal, refuse } from "./refusal.ts";

interface OperatorDependencies {
  readonly store: Store;
  readonly authority: Authority;
  readonly clock: Clock;
  readonly random: Random;
}

export type OperatorCreation = { readonly ok: true; readonly leaf: Leaf } | Refusal;

/**
 * Makes an operator, or gives an existing one a new certificate and role; the certificate before is no longer valid then.
 * @param request.publicKey EC P-256, its private half stays with the operator
 * @param request.actor as in the audit log
 */
export async function createOperator(
  { store, authority, clock, random }: OperatorDependencies,
  request: { readonly name: string; readonly role: Role; readonly publicKey: KeyObject; readonly actor: string },
): Promise<OperatorCreation> {
  const { name, role, actor } = request;
  if (!isOperatorName(name)) {
    return refuse("InvalidRequest", `operator name ${JSON.stringify(name)} must be 1 to 63 lower-case letters, digits, '-', '_' or '.'`);
  }
  if (!isP256(request.publicKey)) return refuse("InvalidRequest", "an operator's key must be EC P-256");
  const leaf = await authority.issueOperator(name, request.publicKey);
  const nowMs = clock.now();
  const record: OperatorRecord = { name, role, certificateSerial: leaf.serial, createdAtMs: nowMs, newestCaPin: authority.newestPin };
  const audit = { atMs: nowMs, actor, action: "CreateOperator", target: `Operator/${name}`, outcome: "ok" } as const;
  const message = `role ${role}, certificate ${leaf.serial}`;
  await store.commit([putJson(keys.operator(name), record), auditOperation({ ...audit, message }, random)]);
  return { ok: true, leaf };
}

/** From the next call on this operator is refused. */
export async function revokeOperator(
  { store, clock, random }: Omit<OperatorDependencies, "authority">,
  request: { readonly name: string; readonly actor: string },
): Promise<{ readonly ok: true } | Refusal> {
  const { name, actor } = request;
  const entry = await store.get(keys.operator(name));
  if (entry === undefined) return refuse("InvalidRequest", `there is no operator ${JSON.stringify(name)}`);
  const nowMs = clock.now();
  const record: OperatorRecord = { ...(readJson(entry) as OperatorRecord), revokedAtMs: nowMs };
  const audit = { atMs: nowMs, actor, action: "RevokeOperator", target: `Operator/${name}`, outcome: "ok", message: "" } as const;
  const committed = await store.commit([putJson(keys.operator(name), record, entry.revision), auditOperation(audit, random)]);
  return committed.ok ? { ok: true } : refuse("Conflict", "the operator's record changed meanwhile; try again");
}
