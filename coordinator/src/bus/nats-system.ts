/** Asks and tells the servers of a NATS cluster as its system user: who they are, and what they hold of an account. */
import { type Clock, withDeadline } from "@drover/lifecycle";
import { connect, jwtAuthenticator, NoRespondersError, type NatsConnection, RequestError } from "@nats-io/transport-node";
import type { NatsUser } from "./nats-trust.ts";

export interface SystemTarget {
  readonly urls: readonly string[];
  readonly caPem: string;
  readonly user: () => NatsUser;
  readonly clock: Clock;
}

/** One server, as it answered. */
export interface ServerView {
  readonly name: string;
  readonly version: string;
  /** By its own clock, Unix milliseconds. */
  readonly atMs: number;
  /** undefined: nobody of the account has connected here since the server started. */
  readonly accountJwt: string | undefined;
}

export interface AccountView {
  readonly servers: readonly ServerView[];
  /** How many servers the cluster itself counts. */
  readonly activeServers: number;
  /** Of servers that keep accounts in a directory of their own; empty: none does, and what they are told is lost when they restart. */
  readonly stored: readonly string[];
}

const CONNECT_TIMEOUT_MS = 3_000;
/** Nobody knows how many will answer: so long after the last one no more are waited for. */
const STALL_MS = 300;
const COLLECT_MS = 2_000;

export async function asSystem<T>(target: SystemTarget, deadlineMs: number, use: (connection: NatsConnection) => Promise<T>): Promise<T> {
  return withDeadline(target.clock, "asking NATS as its system user", deadlineMs, undefined, async () => {
    const user = target.user();
    const connection = await connect({
      servers: [...target.urls],
      name: "drover-coordinator-system",
      tls: { ca: target.caPem },
      authenticator: jwtAuthenticator(user.jwt, Buffer.from(user.seed)),
      reconnect: false,
      timeout: CONNECT_TIMEOUT_MS,
    });
    try {
      return await use(connection);
    } finally {
      await connection.close();
    }
  });
}

export async function viewAccount(connection: NatsConnection, accountId: string): Promise<AccountView> {
  const [accounts, stats, stored] = await Promise.all([
    askAll(connection, "$SYS.REQ.SERVER.PING.ACCOUNTZ", JSON.stringify({ account: accountId })),
    askAll(connection, "$SYS.REQ.SERVER.PING", ""),
    askAll(connection, `$SYS.REQ.ACCOUNT.${accountId}.CLAIMS.LOOKUP`, ""),
  ]);
  const servers = accounts.map((answer) => {
    const { server, data } = JSON.parse(answer) as {
      server: { name: string; ver: string; time: string };
      data?: { account_detail?: { jwt?: string } } | null;
    };
    return { name: server.name, version: server.ver, atMs: Date.parse(server.time), accountJwt: data?.account_detail?.jwt };
  });
  const counts = stats.map((answer) => (JSON.parse(answer) as { statsz?: { active_servers?: number } }).statsz?.active_servers ?? 1);
  return { servers, activeServers: Math.max(0, ...counts), stored: stored.filter((jwt) => jwt.startsWith("ey")) };
}

/** Public keys of the operators, and of their signing keys, that a server trusts; empty: it does not tell. */
export async function trustedOperatorKeys(connection: NatsConnection): Promise<readonly string[]> {
  const [answer] = await askAll(connection, "$SYS.REQ.SERVER.PING.VARZ", "");
  const claims = (
    JSON.parse(answer ?? "{}") as { data?: { trusted_operators_claim?: { sub: string; nats?: { signing_keys?: string[] } }[] } }
  ).data?.trusted_operators_claim;
  return (claims ?? []).flatMap(({ sub, nats }) => [sub, ...(nats?.signing_keys ?? [])]);
}

/** Every server's answer must be that it took the claims, or that nobody of the account is there. @throws with the first refusal */
export async function tellAccountClaims(connection: NatsConnection, accountId: string, accountJwt: string): Promise<void> {
  const answers = await askAll(connection, `$SYS.REQ.ACCOUNT.${accountId}.CLAIMS.UPDATE`, accountJwt);
  if (answers.length === 0) throw new Error("no NATS server answered an update of the account's claims");
  for (const answer of answers) {
    const { data, error } = JSON.parse(answer) as { data?: { code?: number }; error?: { description?: string } };
    if (error !== undefined || data?.code !== 200) {
      throw new Error(`NATS refused the account's claims: ${error?.description ?? "no reason given"}`);
    }
  }
}

async function askAll(connection: NatsConnection, subject: string, payload: string): Promise<string[]> {
  const answers: string[] = [];
  try {
    const messages = await connection.requestMany(subject, payload, { strategy: "stall", stall: STALL_MS, maxWait: COLLECT_MS });
    for await (const message of messages) answers.push(message.string());
  } catch (error) {
    const isUnanswered = error instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders());
    if (!isUnanswered) throw error;
  }
  return answers;
}
