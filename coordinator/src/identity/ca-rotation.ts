/**
 * Rotating the CA: begin (a successor is trusted, and handed out with each renewal), promote (it issues, the coordinator's own certificate included).
 * Who does not hold the successor when it is promoted cannot verify the coordinator any more: that is counted here.
 */
import type { Clock, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { NodeRecord, OperatorRecord } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { readJson } from "../store/values.ts";
import type { Authority } from "./authority.ts";
import { DAY_MS } from "./certificate-authority.ts";
import { type Refusal, refuse } from "./refusal.ts";

/** A node that was away for longer cannot recover, and needs a new token whatever the CA is. */
const RECOVERABLE_MS = 90 * DAY_MS;

export interface RotationDependencies {
  readonly store: Store;
  readonly authority: Authority;
  readonly clock: Clock;
  readonly random: Random;
}

/** Of those that must hold the successor, by name. */
export interface Holders {
  readonly holding: readonly string[];
  readonly lacking: readonly string[];
}

export interface RotationStatus {
  readonly issuingPin: string;
  /** undefined: no rotation is under way, and the rest is as if everybody held it. */
  readonly successor: { readonly pin: string; readonly sinceMs: number } | undefined;
  readonly nodes: Holders;
  readonly operators: Holders;
}

export type Rotation = { readonly ok: true; readonly status: RotationStatus } | Refusal;

export async function rotationStatus({ store, authority, clock }: Omit<RotationDependencies, "random">): Promise<RotationStatus> {
  const [nodes, operators] = await Promise.all([store.list(keys.nodes), store.list(keys.operators)]);
  const { successor } = authority;
  const holds = (record: { readonly newestCaPin?: string }): boolean => successor === undefined || record.newestCaPin === successor.pin;
  const split = (records: readonly { readonly name: string; readonly newestCaPin?: string }[]): Holders => ({
    holding: records
      .filter(holds)
      .map(({ name }) => name)
      .sort(),
    lacking: records
      .filter((record) => !holds(record))
      .map(({ name }) => name)
      .sort(),
  });
  const isReachable = ({ revokedAtMs, certificateNotAfterMs }: NodeRecord): boolean =>
    revokedAtMs === undefined && certificateNotAfterMs + RECOVERABLE_MS > clock.now();
  return {
    issuingPin: authority.pin,
    successor,
    nodes: split(nodes.entries.map((entry) => readJson(entry) as NodeRecord).filter(isReachable)),
    operators: split(
      operators.entries.map((entry) => readJson(entry) as OperatorRecord).filter(({ revokedAtMs }) => revokedAtMs === undefined),
    ),
  };
}

/** @param actor as in the audit log */
export async function beginRotation(dependencies: RotationDependencies, actor: string): Promise<Rotation> {
  const { authority } = dependencies;
  if (authority.successor !== undefined) {
    const since = new Date(authority.successor.sinceMs).toISOString();
    return refuse("Conflict", `a rotation is under way since ${since}; see: drover-coordinator ca rotate --status`);
  }
  const pin = await authority.addSuccessor();
  await audited(dependencies, { actor, action: "BeginCaRotation", pin, outcome: "ok", message: `beside ${authority.pin}` });
  return { ok: true, status: await rotationStatus(dependencies) };
}

/** @param isForced although some cannot follow: they must enrol again, or be made anew */
export async function promoteSuccessor(dependencies: RotationDependencies, actor: string, isForced: boolean): Promise<Rotation> {
  const { authority } = dependencies;
  const before = await rotationStatus(dependencies);
  const { successor, nodes, operators } = before;
  if (successor === undefined)
    return refuse("Conflict", "there is no successor to promote; begin with: drover-coordinator ca rotate --begin");
  const { pin } = successor;
  const lacking = `${nodes.lacking.length} of ${total(nodes)} nodes and ${operators.lacking.length} of ${total(operators)} operators do not hold it`;
  if (nodes.lacking.length + operators.lacking.length > 0 && !isForced) {
    await audited(dependencies, { actor, action: "PromoteCa", pin, outcome: "refused", message: lacking });
    return refuse("Conflict", `the successor is not promoted: ${lacking}, and would be locked out${lockedOut(before)}`);
  }
  await authority.promoteSuccessor();
  await audited(dependencies, { actor, action: "PromoteCa", pin, outcome: "ok", message: isForced ? `forced; ${lacking}` : lacking });
  return { ok: true, status: await rotationStatus(dependencies) };
}

const SHOWN_NAMES = 10;

/** Who cannot follow yet, and what to do about each; for people. */
export function lockedOut({ nodes, operators }: RotationStatus): string {
  const listed = (names: readonly string[]): string =>
    names.length <= SHOWN_NAMES ? names.join(", ") : `${names.slice(0, SHOWN_NAMES).join(", ")} and ${names.length - SHOWN_NAMES} more`;
  return [
    ...(nodes.lacking.length === 0
      ? []
      : [`\n  nodes: ${listed(nodes.lacking)} (each renews by itself within 5 days of its last renewal)`]),
    ...(operators.lacking.length === 0
      ? []
      : [`\n  operators: ${listed(operators.lacking)} (drover-coordinator operator create NAME --role ROLE)`]),
  ].join("");
}

function total({ holding, lacking }: Holders): number {
  return holding.length + lacking.length;
}

async function audited(
  { store, clock, random }: RotationDependencies,
  entry: {
    readonly actor: string;
    readonly action: string;
    readonly pin: string;
    readonly outcome: "ok" | "refused";
    readonly message: string;
  },
): Promise<void> {
  const { pin, ...rest } = entry;
  await store.commit([auditOperation({ ...rest, atMs: clock.now(), target: `CertificateAuthority/${pin}` }, random)]);
}
