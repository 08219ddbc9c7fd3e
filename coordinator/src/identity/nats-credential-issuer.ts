/** What enrolment needs of NATS: a user JWT per node. The key that signs it stays behind this port. */
export interface NatsCredentialIssuer {
  /** @param publicKey the node's nkey, "U..."; @param notAfterMs Unix milliseconds, the end of the node's certificate */
  issueUserJwt(node: { readonly nodeId: string; readonly publicKey: string; readonly notAfterMs: number }): string;
  /** What nodes connect to. */
  readonly urls: readonly string[];
  readonly caPem: string;
}
