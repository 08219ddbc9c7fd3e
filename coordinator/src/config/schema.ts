/** What may stand in coordinator.yaml, and what is taken for what does not. */
import { isAbsolute } from "node:path";
import { isIP } from "node:net";
import { parseBytes, parseDurationMs } from "@drover/api";
import { z } from "zod";

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/i;
/** Digits and dots alone are a mistyped address, never a name. */
const NUMERIC = /^[\d.]+$/;

const isHost = (text: string): boolean => isIP(text) !== 0 || (HOST_NAME.test(text) && !NUMERIC.test(text));
const host = z.string().refine(isHost, "must be a DNS name or an IP address");

export interface ListenAddress {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

const listenAddress = z.string().transform((text, context): ListenAddress => {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const address = { host: match?.[1] ?? match?.[2] ?? "", port: Number(match?.[3] ?? -1) };
  if (match !== null && isIP(address.host) !== 0 && address.port <= 65_535) return address;
  context.issues.push({ code: "custom", message: "must be an address and a port, such as 0.0.0.0:7443 or [::]:7443", input: text });
  return z.NEVER;
});

const durationMs = (leastMs: number, least: string) =>
  z
    .string()
    .regex(/^(\d+(ms|s|m|h|d))+$/, "must be a duration such as 30s, 5m or 7d")
    .transform(parseDurationMs)
    .refine((ms) => ms >= leastMs, `must be at least ${least}`);

const BYTES = "must be bytes: a number, or one with Ki, Mi, Gi, Ti, k, M, G or T";
const bytes = (least: number, leastText: string) =>
  z
    .union([z.int(BYTES).min(0, BYTES), z.string().regex(/^\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$/, BYTES)], BYTES)
    .transform(parseBytes)
    .refine((count) => count >= least, `must be at least ${leastText}`);

const absolutePath = z.string().refine((path) => isAbsolute(path) && !path.includes("\0"), "must be an absolute path");
const port = z.int("must be a port, 0 to 65535").min(0, "must be a port, 0 to 65535").max(65_535, "must be a port, 0 to 65535");
const limit = (least: number, most: number, fallback: number) => {
  const message = `must be a whole number from ${least} to ${most}`;
  return z.int(message).min(least, message).max(most, message).default(fallback);
};

const natsUrl = z.string().regex(/^tls:\/\/[^\s/@]+:\d{1,5}$/, "must be a NATS URL with TLS and a port, such as tls://nats.example:4222");

const nats = z
  .strictObject({
    embedded: z
      .strictObject({
        port: port.default(4222).describe("Where nodes connect to; 0: any free one, kept from then on."),
        program: absolutePath.optional().describe("nats-server; left out: where distributions put it."),
      })
      .optional(),
    outside: z
      .strictObject({
        urls: z.array(natsUrl).min(1, "must name at least one server"),
        accountId: z.string().regex(/^A[A-Z2-7]{55}$/, "must be the public key of a NATS account, 56 characters from A"),
        accountSigningKeyFile: absolutePath.describe("Seed of a signing key of that account, without a scope; signs the users of nodes."),
        systemUserCredsFile: absolutePath.describe("Creds of a user of the system account."),
        caFile: absolutePath.describe("PEM that the servers' certificates are verified by."),
        operatorSigningKeyFile: absolutePath
          .optional()
          .describe("Seed of a signing key of the NATS operator; left out: revoked nodes cannot be cut from NATS at once."),
      })
      .optional(),
  })
  .refine(({ embedded, outside }) => embedded === undefined || outside === undefined, "must hold either embedded or outside, not both");

export const configSchema = z.strictObject({
  dataDir: absolutePath.default("/var/lib/drover-coordinator"),
  listen: z
    .strictObject({
      session: listenAddress.prefault("0.0.0.0:7443").describe("mTLS: agents' sessions and operators."),
      enrolment: listenAddress.prefault("0.0.0.0:7444").describe("Server TLS: enrolment and recovery."),
      metrics: listenAddress.prefault("127.0.0.1:7445").describe("Plain HTTP."),
    })
    .prefault({}),
  advertise: z
    .strictObject({
      hosts: z.array(host).min(1, "must name at least one host").describe("What agents and operators dial; the first is told to nodes."),
    })
    .optional(),
  nats: nats.prefault({}),
  secrets: z
    .strictObject({
      keyFile: absolutePath
        .optional()
        .describe(
          "32 random bytes that kubeconfigs of adopted clusters are encrypted with; left out: secrets.key in dataDir. Made at the first start. " +
            "Back it up apart from the data directory: both together are the kubeconfigs, one alone is nothing.",
        ),
    })
    .prefault({}),
  reportLog: z
    .strictObject({
      maxAge: durationMs(60_000, "1m").prefault("7d"),
      maxBytes: bytes(1024 ** 2, "1Mi").prefault("2Gi"),
    })
    .prefault({}),
  heartbeats: z
    .strictObject({
      shortestInterval: durationMs(1_000, "1s")
        .prefault("10s")
        .describe("How often nodes beat while they are few; silence of three is noticed."),
      perSecond: limit(100, 100_000, 1_000).describe("Beats of all nodes together; above it each beats less often."),
    })
    .prefault({}),
  log: z
    .strictObject({ level: z.enum(["debug", "info", "warn", "error"], "must be debug, info, warn or error").default("info") })
    .prefault({}),
  limits: z
    .strictObject({
      streamsPerConnection: limit(1, 10_000, 64),
      connectionAge: durationMs(60_000, "1m").prefault("1h"),
      connections: limit(10, 1_000_000, 12_000).describe(
        "Nodes connected to the session port at once; each is an open file. Beyond that a node is told when to come again.",
      ),
      operatorConnections: limit(4, 10_000, 256).describe(
        "Operators connected at once: a share of their own, which no storm of nodes takes.",
      ),
      handshakes: limit(10, 100_000, 2_000).describe("Connections to the session port that have not proved yet who they are."),
      handshakeTimeout: durationMs(100, "100ms").prefault("10s").describe("From the connection to the end of the TLS handshake."),
      auditRecords: limit(100, 1_000_000, 10_000),
      storeHistory: limit(100, 1_000_000, 10_000).describe("Revisions that a watch can go back."),
    })
    .prefault({}),
});

export type WrittenConfig = z.infer<typeof configSchema>;
