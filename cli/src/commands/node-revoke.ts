/** `drover node revoke NODE --reason TEXT`: its certificate and NATS credential end now, for good. */
import type { Session } from "../session.ts";

export async function revokeNode(session: Session, node: string, reason: string): Promise<void> {
  const { nodeId } = await session.connect().call("revokeNode", { node, reason });
  session.print(`node/${node} (${nodeId}) revoked; it comes back only with a new join token`);
}
