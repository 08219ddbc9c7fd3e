/** `drover token create [--ttl 1h] [--label KEY=VALUE ...] [--description TEXT]`. */
import type { Session } from "../session.ts";

export interface TokenOptions {
  readonly ttlSeconds: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly description: string;
  readonly isJson: boolean;
}

export async function createToken(session: Session, options: TokenOptions): Promise<void> {
  const answer = await session.connect().call("createJoinToken", {
    ttlSeconds: options.ttlSeconds,
    labels: { ...options.labels },
    description: options.description,
  });
  if (options.isJson) {
    session.print(JSON.stringify({ ...answer, expiresAt: new Date(answer.expiresAtMs).toISOString() }, null, 2));
    return;
  }
  session.print(`join token (single use, until ${new Date(answer.expiresAtMs).toISOString()}; it is not shown again):

  ${answer.joinToken}

on the machine:
  /etc/drover/join-token (mode 0600)  the token
  /etc/drover/agent.yaml              coordinator: "${answer.endpoint}"
                                      caPin: "${answer.caPin}"
  systemctl enable --now drover-agent`);
}
