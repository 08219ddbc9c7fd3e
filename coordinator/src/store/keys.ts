/** Where everything lies in the Store; spelled here and nowhere else. Values are JSON unless said otherwise. */

export const keys = {
  /** The resource object {apiVersion, kind, metadata, spec} (status is computed or kept in it by its controller). */
  object: (kind: string, name: string): string => `objects/${kind}/${name}`,
  objectsOf: (kind: string): string => `objects/${kind}/`,
  /** NodeRecord by id: identity, renewal counter, revocation. */
  node: (nodeId: string): string => `nodes/${nodeId}`,
  nodes: "nodes/",
  /** {nodeId}: whose a NATS public key is; revoking it must never cut another node. */
  natsKey: (publicKey: string): string => `natskeys/${publicKey}`,
  /** DesiredNode by node id: what dispatch has decided for it. */
  desired: (nodeId: string): string => `desired/${nodeId}`,
  allDesired: "desired/",
  /** JoinTokenRecord by token id (the secret only as a hash). */
  joinToken: (tokenId: string): string => `tokens/${tokenId}`,
  joinTokens: "tokens/",
  /** SealedSecret: what is secret, encrypted. */
  secret: (kind: SecretKind, name: string): string => `secrets/${kind}/${name}`,
  secrets: "secrets/",
  /** BootstrapTokenRecord by the token's public half: tokens that may be in a cluster. */
  bootstrapToken: (tokenId: string): string => `bootstraptokens/${tokenId}`,
  bootstrapTokens: "bootstraptokens/",
  /** ExpectedNodeRecord by node id: as whom it was let into a cluster last. */
  expectedNode: (nodeId: string): string => `expectednodes/${nodeId}`,
  expectedNodes: "expectednodes/",
  /** MaintenanceRecord by node id: it is, or was, taken out of its cluster's scheduling. */
  maintenance: (nodeId: string): string => `maintenance/${nodeId}`,
  maintenances: "maintenance/",
  /** RevisionRecord by digest: content that a set may go back to. */
  revision: (digest: string): string => `revisions/${digest}`,
  revisions: "revisions/",
  /** SlotRecord by scope: written by every commit that brings nodes of the scope into change, so that of two who decided at once one loses. */
  changeSlot: (scope: string): string => `slots/${scope === "" ? "-" : scope}`,
  changeSlots: "slots/",
  /** AuditRecord; newest last. */
  audit: (atMs: number, unique: string): string => `audit/${String(atMs).padStart(15, "0")}-${unique}`,
  audits: "audit/",
  /** OperatorRecord by name. */
  operator: (name: string): string => `operators/${name}`,
  operators: "operators/",
  /** {planEpoch, acceptedAtMs?: when an old backup was accepted last}. */
  epoch: "coordinator/epoch",
  /** RestoredRecord; there while decisions stand still. */
  restored: "coordinator/restored",
  coordinator: "coordinator/",
} as const;

/** What is kept encrypted. */
export type SecretKind = "kubeconfig";
