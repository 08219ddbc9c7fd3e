/** Who is at the other end of an mTLS connection: what the certificate names, as our records know it now. Each call is checked without a read of the store. */
import type { X509Certificate } from "node:crypto";
import type { Clock } from "@drover/lifecycle";
import { isNodeId } from "@drover/proto";
import type { Peer } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import type { Authority } from "./authority.ts";
import { nodeUri, operatorUri } from "./authority.ts";
import { serialOf } from "./certificate-authority.ts";
import { parseCertificate } from "./certificate-request.ts";
import { isOperatorName } from "./operator-names.ts";
import { type Refusal, refuse } from "./refusal.ts";

export type Subject = { readonly kind: "node" | "operator"; readonly name: string };
export type Identification = { readonly ok: true; readonly peer: Peer } | Refusal;
export type RevokedListener = (subject: Subject) => void;

interface PeersDependencies {
  /** Followed; before it has been read nobody is known. */
  readonly catalog: Pick<Catalog, "nodeRecords" | "operators" | "onChange">;
  readonly authority: Authority;
  readonly clock: Clock;
}

export class Peers {
  readonly #dependencies: PeersDependencies;

  constructor(dependencies: PeersDependencies) {
    this.#dependencies = dependencies;
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

  /** Called when a node or operator is revoked or its record is gone, and perhaps again. @returns what takes the listener away */
  onRevoked(listener: RevokedListener): () => void {
    return this.#dependencies.catalog.onChange((changes) => {
      for (const { key } of changes) {
        const subject = subjectOfKey(key);
        if (subject !== undefined && !this.#isValid(subject)) listener(subject);
      }
    });
  }

  #isValid({ kind, name }: Subject): boolean {
    const { catalog } = this.#dependencies;
    const record = kind === "node" ? catalog.nodeRecords.look(name) : catalog.operators.get(name)?.value;
    return record !== undefined && record.revokedAtMs === undefined;
  }

  #node(nodeId: string, certificate: X509Certificate): Identification {
    const record = this.#dependencies.catalog.nodeRecords.look(nodeId);
    if (record === undefined) return refuse("UnknownNode", `node ${nodeId} is not known; enrol it with a new join token`);
    if (record.revokedAtMs !== undefined) return refuse("Revoked", `node ${nodeId} is revoked; enrol it with a new join token`);
    return { ok: true, peer: { kind: "node", nodeId, certificateSerial: serialOf(certificate) } };
  }

  #operator(name: string, certificate: X509Certificate): Identification {
    const record = this.#dependencies.catalog.operators.get(name)?.value;
    // An operator has one certificate: one made anew takes the place of the one before.
    if (record === undefined || record.revokedAtMs !== undefined || record.certificateSerial !== serialOf(certificate)) {
      return refuse("Revoked", `operator ${name} has no valid certificate here any more; ask an admin for a new one`);
    }
    return { ok: true, peer: { kind: "operator", name, role: record.role } };
  }
}

function subjectOfKey(key: string): Subject | undefined {
  if (key.startsWith(keys.nodes)) return { kind: "node", name: key.slice(keys.nodes.length) };
  return key.startsWith(keys.operators) ? { kind: "operator", name: key.slice(keys.operators.length) } : undefined;
}

/** Whom a certificate names, by its one URI name; its signature is the caller's to check. */
export function subjectOf(certificate: X509Certificate): Subject | undefined {
  const name = certificate.subjectAltName ?? "";
  const last = name.slice(name.lastIndexOf("/") + 1);
  if (isNodeId(last) && name === `URI:${nodeUri(last)}`) return { kind: "node", name: last };
  if (isOperatorName(last) && name === `URI:${operatorUri(last)}`) return { kind: "operator", name: last };
  return undefined;
}
