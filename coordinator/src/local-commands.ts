/** What is done on the coordinator's own machine, beside a running coordinator or without one: operators, join tokens, rotating the CA, accepting a restored backup. */
import { generateKeyPairSync } from "node:crypto";
import { type Clock, systemClock, systemRandom, type Random } from "@drover/lifecycle";
import { auditOperation } from "./audit/audit.ts";
import type { Config } from "./config/config.ts";
import { dataFiles, makeDataDirectory, readPorts } from "./data-files.ts";
import { type Authority, openAuthority, pemOf } from "./identity/authority.ts";
import { beginRotation, promoteSuccessor, type RotationStatus, rotationStatus } from "./identity/ca-rotation.ts";
import { createJoinToken } from "./identity/join-tokens.ts";
import { createOperator } from "./identity/operators.ts";
import { mergeContext } from "./operator-context.ts";
import type { RestoredRecord, Role } from "./records.ts";
import { hostAndPort } from "./host-and-port.ts";
import { keys } from "./store/keys.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import type { Store } from "./store/store.ts";
import { putJson, readJson } from "./store/values.ts";

const ACTOR = "coordinator";

interface Local {
  readonly store: Store;
  readonly authority: Authority;
  readonly clock: Clock;
  readonly random: Random;
}

/** Expected: the request cannot be met; the message says what to do. */
export class LocalRefusal extends Error {
  override readonly name = "LocalRefusal";
}

/** @returns the endpoint in the context */
export async function makeOperator(
  config: Config,
  request: { readonly name: string; readonly role: Role; readonly out: string; readonly endpoint: string | undefined },
): Promise<string> {
  const { name, role, out } = request;
  const endpoint = request.endpoint ?? (await endpointAt(config, "session"));
  return withLocal(config, async (local) => {
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const created = await createOperator(local, { name, role, publicKey: pair.publicKey, actor: ACTOR });
    if (!created.ok) throw new LocalRefusal(created.message);
    await mergeContext(out, {
      name,
      endpoint,
      caPem: local.authority.bundlePem,
      certificatePem: pemOf(created.leaf.chain),
      keyPem: pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    });
    return endpoint;
  });
}

export interface MadeToken {
  readonly token: string;
  readonly caPin: string;
  readonly endpoint: string;
  readonly expiresAtMs: number;
}

export async function makeJoinToken(
  config: Config,
  request: { readonly ttlSeconds: number; readonly labels: Readonly<Record<string, string>>; readonly description: string },
): Promise<MadeToken> {
  const endpoint = await endpointAt(config, "enrolment");
  return withLocal(config, async (local) => {
    const created = await createJoinToken(local, { ...request, createdBy: ACTOR });
    if (!created.ok) throw new LocalRefusal(created.message);
    return { token: created.token.reveal(), caPin: local.authority.pin, endpoint, expiresAtMs: created.expiresAtMs };
  });
}

/** The store is an old backup, and that is accepted: a new plan epoch puts every decision above all that nodes have seen. @returns the epoch */
export async function acceptRestored(config: Config): Promise<number> {
  return withLocal(config, async ({ store, clock, random }) => {
    const [restored, epoch] = await Promise.all([store.get(keys.restored), store.get(keys.epoch)]);
    if (restored === undefined) throw new LocalRefusal("no node has told that this store is an old backup; there is nothing to accept");
    const { seenEpoch } = readJson(restored) as RestoredRecord;
    const stored = epoch === undefined ? 1 : (readJson(epoch) as { planEpoch: number }).planEpoch;
    const planEpoch = Math.max(seenEpoch, stored) + 1;
    const entry = {
      atMs: clock.now(),
      actor: ACTOR,
      action: "AcceptRestored",
      target: "Coordinator/epoch",
      outcome: "ok",
      message: `plan epoch ${planEpoch}`,
    } as const;
    const committed = await store.commit([
      putJson(keys.epoch, { planEpoch, acceptedAtMs: clock.now() }, epoch?.revision ?? 0),
      { type: "delete", key: keys.restored, expectedRevision: restored.revision },
      auditOperation(entry, random),
    ]);
    if (!committed.ok) throw new LocalRefusal("the store changed meanwhile; try again");
    return planEpoch;
  });
}

/** One step of rotating the CA; a running coordinator follows within a second. */
export async function rotateCa(config: Config, step: "begin" | "promote" | "status", isForced: boolean): Promise<RotationStatus> {
  return withLocal(config, async (local) => {
    if (step === "status") return rotationStatus(local);
    const rotation = step === "begin" ? await beginRotation(local, ACTOR) : await promoteSuccessor(local, ACTOR, isForced);
    if (!rotation.ok) throw new LocalRefusal(rotation.message);
    return rotation.status;
  });
}

async function endpointAt(config: Config, door: "session" | "enrolment"): Promise<string> {
  const configured = config.listen[door].port;
  const port = configured === 0 ? (await readPorts(dataFiles(config.dataDir)))?.[door] : configured;
  if (port === undefined)
    throw new LocalRefusal(`listen.${door} has port 0, and no coordinator has served yet; start it first, or give the endpoint`);
  return hostAndPort(config.advertisedHosts[0]!, port);
}

async function withLocal<T>(config: Config, work: (local: Local) => Promise<T>): Promise<T> {
  const files = dataFiles(config.dataDir);
  await makeDataDirectory(files);
  const store = openSqliteStore(files.store);
  try {
    return await work({ store, authority: await openAuthority(files.authority, systemClock), clock: systemClock, random: systemRandom });
  } finally {
    await store.close();
  }
}
