/** What the coordinator keeps in its Store besides resource objects: the shapes of the values under store/keys.ts. */

import type { ImageLock, NodeProfile } from "@drover/api";

export type Role = "viewer" | "operator" | "approver" | "admin";

/** A node's identity; the certificate follows this record, never the CSR. */
export interface NodeRecord {
  readonly nodeId: string;
  /** metadata.name of its Node object. */
  readonly name: string;
  readonly enrolledAtMs: number;
  /** SHA-256 hex over the SPKI of the key last certified. */
  readonly keyFingerprint: string;
  /** Serial (hex) and end of the certificate last issued. */
  readonly certificateSerial: string;
  readonly certificateNotAfterMs: number;
  readonly natsPublicKey: string;
  /** Keys of before whose user JWT may still live: a revocation cuts them, too. */
  readonly retiredNatsKeys?: readonly { readonly publicKey: string; readonly notAfterMs: number }[];
  readonly renewalCounter: number;
  /** Serials of expired certificates that were recovered already: each recovers once. */
  readonly recoveredSerials: readonly string[];
  readonly revokedAtMs?: number;
  readonly revokedReason?: string;
  readonly bakeManifestDigest: string;
  /** Pin of the newest CA in the bundle that it was given last: whether it can follow a rotation. */
  readonly newestCaPin?: string;
  /** How often operators have asked that it be reset and join its cluster again. */
  readonly rejoin?: number;
}

/** Whether a stored NodeRecord may have been revoked; most are told apart without being parsed. */
export function mayBeRevoked({ value: { buffer, byteOffset, byteLength } }: { readonly value: Uint8Array }): boolean {
  return Buffer.from(buffer, byteOffset, byteLength).includes('"revokedAtMs"');
}

export interface JoinTokenRecord {
  readonly id: string;
  /** SHA-256 hex of the secret half. */
  readonly secretHash: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly createdBy: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly description: string;
  /** Set by the one claim that wins. */
  readonly claim?: { readonly nodeId: string; readonly atMs: number; readonly keyFingerprint: string; readonly nonce: string };
}

export interface OperatorRecord {
  readonly name: string;
  readonly role: Role;
  readonly certificateSerial: string;
  readonly createdAtMs: number;
  readonly revokedAtMs?: number;
  /** As a node's. */
  readonly newestCaPin?: string;
}

/** What dispatch has decided for a node. (planEpoch, generation) rises strictly. */
export interface DesiredNode {
  readonly nodeId: string;
  readonly planEpoch: number;
  readonly generation: number;
  readonly revision: string;
  readonly nodeSet: string;
  readonly rollout: string;
  /** The encoded Plan, base64. */
  readonly plan: string;
  readonly decidedAtMs: number;
  /** The node's rejoin counter that the plan was made with; absent: it joins no cluster. */
  readonly rejoin?: number;
  /** When the rollout first saw this generation enforced, Unix milliseconds; soak counts from here. */
  readonly enforcedAtMs?: number;
  /** How many generations of this revision before it were cut short by a boot of the machine. */
  readonly interruptions?: number;
}

/** A kubeadm bootstrap token that is, or may be, in a cluster; never its secret half. Written before the token is made there. */
export interface BootstrapTokenRecord {
  readonly tokenId: string;
  /** metadata.name of the Cluster. */
  readonly cluster: string;
  readonly nodeId: string;
  readonly planEpoch: number;
  readonly generation: number;
  readonly mintedAtMs: number;
  readonly expiresAtMs: number;
  /** What the node had reported of an earlier try by that generation when it was minted: what it reports besides is about this token. */
  readonly reportedBefore: readonly string[];
}

/**
 * That a bootstrap token was minted for a node while its cluster had no Node of that name: the one that appears there came by the token. Outlives the
 * token, for the Node may be seen later.
 */
export interface ExpectedNodeRecord {
  readonly nodeId: string;
  /** metadata.name of the Cluster. */
  readonly cluster: string;
  /** metadata.uid of the Cluster. */
  readonly adoption: string;
  /** Of the Node. */
  readonly nodeName: string;
  readonly mintedAtMs: number;
}

/** A value encrypted with AES-256-GCM under the key file; bound to the key it is stored under. Binary as base64. */
export interface SealedSecret {
  /** Which key file opens it. */
  readonly keyId: string;
  readonly nonce: string;
  readonly tag: string;
  readonly ciphertext: string;
}

/** A node knew a higher (plan epoch, generation) than the store: the store is an old backup, and nothing is decided until somebody accepts that. */
export interface RestoredRecord {
  readonly nodeId: string;
  readonly seenEpoch: number;
  readonly seenGeneration: number;
  readonly ownEpoch: number;
  readonly ownGeneration: number;
  readonly atMs: number;
}

export interface AuditEntry {
  readonly atMs: number;
  /** "operator:NAME", "node:ID", "coordinator". */
  readonly actor: string;
  /** CamelCase. */
  readonly action: string;
  /** "Kind/name". */
  readonly target: string;
  readonly outcome: "ok" | "refused";
  readonly message: string;
}

/** Who is at the other end of an mTLS connection, as the coordinator's own records say. */
export type Peer =
  | { readonly kind: "node"; readonly nodeId: string; readonly certificateSerial: string }
  | { readonly kind: "operator"; readonly name: string; readonly role: Role };

/**
 * That a node is cordoned, drained or about to be let back. While there is one the node counts as in change (I3), whoever asked for it.
 * Written by who wants it (rollout, repair, operator), moved on by maintenance/ alone.
 */
export interface MaintenanceRecord {
  readonly nodeId: string;
  /** metadata.name of the Cluster, and the node's name in it; both empty: it is in none, and the record only holds its place until its owner deletes it. */
  readonly cluster: string;
  readonly nodeName: string;
  readonly owner: { readonly kind: "Rollout" | "Repair" | "Operator"; readonly name: string };
  /** What the owner wants. release: uncordoned if we cordoned it, and then the record goes. */
  readonly wanted: "cordon" | "drain" | "release";
  /** How far it is. timedOut: the deadline came first; it is uncordoned, and may be tried again at revisitAtMs. */
  readonly phase: "waiting" | "cordoned" | "draining" | "drained" | "timedOut";
  readonly message: string;
  /** Somebody else had cordoned it before: it stays cordoned when we let go. */
  readonly wasCordoned: boolean;
  readonly startedAtMs: number;
  readonly deadlineAtMs: number;
  readonly revisitAtMs?: number;
}

/** Everything that a revision was compiled from but the cluster: a set can go back to it. */
export interface RevisionRecord {
  readonly revision: string;
  /** The set whose rollout wrote it first; others may have the same content. */
  readonly nodeSet: string;
  readonly profile: NodeProfile;
  readonly locks: readonly ImageLock[];
  readonly storedAtMs: number;
}

export interface SlotRecord {
  readonly by: string;
  readonly atMs: number;
}
