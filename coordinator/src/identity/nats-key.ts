/** Which node a NATS public key belongs to: one node only, for good, so that revoking one never cuts another. */
import { fromPublic } from "@nats-io/nkeys";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { type Refusal, refuse } from "./refusal.ts";

const USER_KEY = /^U[A-Z2-7]{55}$/;

export type NatsKeyClaim = { readonly ok: true; readonly operations: readonly StoreOperation[] } | Refusal;

/** What must be committed for nodeId to use this key; nothing when it is the node's already. */
export async function claimNatsKey(store: Store, publicKey: string, nodeId: string): Promise<NatsKeyClaim> {
  if (!isUserKey(publicKey)) return refuse("InvalidNatsKey", 'nats_public_key must be the public half of a NATS user nkey, "U..."');
  const held = await store.get(keys.natsKey(publicKey));
  if (held === undefined) return { ok: true, operations: [putJson(keys.natsKey(publicKey), { nodeId }, 0)] };
  const owner = (readJson(held) as { nodeId: string }).nodeId;
  if (owner === nodeId) return { ok: true, operations: [] };
  return refuse("NatsKeyInUse", "nats_public_key is another node's; make a new nkey on this machine");
}

function isUserKey(publicKey: string): boolean {
  if (!USER_KEY.test(publicKey)) return false;
  try {
    // Checks the prefix and the checksum.
    return fromPublic(publicKey).getPublicKey() === publicKey;
  } catch {
    return false;
  }
}
