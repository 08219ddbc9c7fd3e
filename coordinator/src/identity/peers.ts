/**
 * Who is at the other end of an mTLS connection: what the certificate names, as our records know it now.
 * Keeps a mirror of nodes/ and operators/ in memory, so that every call can be checked without a read.
 */
import type { X509Certificate } from "node:crypto";
import type { Clock } from "@drover/lifecycle";
import { isNodeId } from "@drover/proto";
import { mayBeRevoked, type NodeRecord, type OperatorRecord, type Peer, type Role } from "../records.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreEntry } from "../store/store.ts";
import { readJson } from "../store/values.ts";
import type { Authority } from "./authority.ts";
import { nodeUri, operatorUri } from "./authority.ts";
import { serialOf } from "./certificate-authority.ts";
import { parseCertificate } from "./certificate-request.ts";
import { isOperatorName } from "./operator-names.ts";
import { type Refusal, refuse } from "./refusal.ts";

export type Subject = { readonly kind: "node" | "operator"; readonly name: string };
export type Identification = { readonly ok: true; readonly peer: Peer } | Refusal;
export type RevokedListener = (subject: Subject) => void;

/** What is asked of a record. */
interface Known {
  readonly isRevoked: boolean;
  /** An operator's. */
  readonly certificateSerial?: string;
  readonly role?: Role;
}

/** There is one for each node: nothing more is held of it. */
const VALID: Known = { isRevoked: false };
const REVOKED: Known = { isRevoked: true };
/** Records read at a time. */
const PAGE = 2_000;
type Records = Map<string, Known>;

interface PeersDependencies {
  readonly store: Store;
  readonly authority: Authority;
  readonly clock: Clock;
}

export class Peers {
  readonly #dependencies: PeersDependencies;
  readonly #nodes = new Map<string, Known>();
  readonly #operators = new Map<string, Known>();
  readonly #listeners = new Set<RevokedListener>();
  /** Store revisions that load() has read at, by prefix: followed from there. */
  readonly #loaded = new Map<string, number>();

  constructor(dependencies: PeersDependencies) {
    this.#dependencies = dependencies;
  }

  /** Reads all records; before that nobody is known. */
  async load(): Promise<void> {
    this.#loaded.set(keys.nodes, await this.#read(keys.nodes, this.#nodes));
    this.#loaded.set(keys.operators, await this.#read(keys.operators, this.#operators));
  }

  /** Keeps the mirror, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#follow(keys.nodes, this.#nodes, signal), this.#follow(keys.operators, this.#operators, signal)]);
  }

  /** The peer with this certificate; to be asked at every call, because a revocation counts at once. */
  identifyPeer(certificateDer: Uint8Array | undefined): Identification {
    const { authority, clock } = this.#dependencies;
    const certificate = certificateDer === undefined ? undefined : parseCertificate(certificateDer);
    const subject = certificate === undefined || !authority.hasIssued(certificate) ? undefined : subjectOf(certificate);
    if (certificate === undefined || subject === undefined) {
      return refuse("InvalidCertificate", "no client certificate of this coordinator's was presented");
    }
    if (Date.parse(certificate.validTo) <= clock.now()) return refuse("InvalidCertificate", "the client certificate has expired");
    return subject.kind === "node" ? this.#node(subject.name, certificate) : this.#operator(subject.name, certificate);
  }

  /** Called once when a node or operator is revoked or its record is gone. @returns what takes the listener away */
  onRevoked(listener: RevokedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #node(nodeId: string, certificate: X509Certificate): Identification {
    const record = this.#nodes.get(nodeId);
    if (record === undefined) return refuse("UnknownNode", `node ${nodeId} is not known; enrol it with a new join token`);
    if (record.isRevoked) return refuse("Revoked", `node ${nodeId} is revoked; enrol it with a new join token`);
    return { ok: true, peer: { kind: "node", nodeId, certificateSerial: serialOf(certificate) } };
  }

  #operator(name: string, certificate: X509Certificate): Identification {
    const record = this.#operators.get(name);
    // An operator has one certificate: one made anew takes the place of the one before.
    if (record?.role === undefined || record.isRevoked || record.certificateSerial !== serialOf(certificate)) {
      return refuse("Revoked", `operator ${name} has no valid certificate here any more; ask an admin for a new one`);
    }
    return { ok: true, peer: { kind: "operator", name, role: record.role } };
  }

  async #follow(prefix: string, records: Records, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const revision = this.#loaded.get(prefix) ?? (await this.#read(prefix, records));
      this.#loaded.delete(prefix);
      for await (const batch of this.#dependencies.store.watch(prefix, revision, signal)) {
        if (batch.type === "compacted") break;
        for (const { key, entry } of batch.changes) this.#keep(prefix, records, key, entry);
      }
    }
  }

  async #read(prefix: string, records: Records): Promise<number> {
    const missing = new Set(records.keys());
    let from = Infinity;
    for (let after = prefix; ; ) {
      const { entries, revision } = await this.#dependencies.store.list(prefix, { after, limit: PAGE });
      // What changes between two pages is told once more by the watch.
      from = Math.min(from, revision);
      for (const entry of entries) {
        missing.delete(entry.key.slice(prefix.length));
        this.#keep(prefix, records, entry.key, entry);
      }
      if (entries.length < PAGE) break;
      after = entries.at(-1)!.key;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    for (const name of missing) this.#keep(prefix, records, prefix + name, undefined);
    return from;
  }

  #keep(prefix: string, records: Records, key: string, entry: StoreEntry | undefined): void {
    const name = key.slice(prefix.length);
    const wasValid = isValid(records.get(name));
    const record = entry && (prefix === keys.nodes && !mayBeRevoked(entry) ? VALID : known(readJson(entry) as NodeRecord | OperatorRecord));
    if (record === undefined) records.delete(name);
    else records.set(name, record);
    if (!wasValid || isValid(record)) return;
    for (const revoked of this.#listeners) revoked({ kind: prefix === keys.nodes ? "node" : "operator", name });
  }
}

/** Whom a certificate names, by its one URI name; its signature is the caller's to check. */
export function subjectOf(certificate: X509Certificate): Subject | undefined {
  const name = certificate.subjectAltName ?? "";
  const last = name.slice(name.lastIndexOf("/") + 1);
  if (isNodeId(last) && name === `URI:${nodeUri(last)}`) return { kind: "node", name: last };
  if (isOperatorName(last) && name === `URI:${operatorUri(last)}`) return { kind: "operator", name: last };
  return undefined;
}

function known(record: NodeRecord | OperatorRecord): Known {
  const isRevoked = record.revokedAtMs !== undefined;
  if ("nodeId" in record) return isRevoked ? REVOKED : VALID;
  return { isRevoked, certificateSerial: record.certificateSerial, role: record.role };
}

function isValid(record: Known | undefined): boolean {
  return record?.isRevoked === false;
}
