/**
 * The two gRPC ports. Sessions, operators and renewal over mTLS; enrolment with server TLS only. Owns limits, health, reflection and the orderly end;
 * who may call what is the gate's.
 */
import { fileURLToPath } from "node:url";
import { Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { type Clock, type Log, withDeadline } from "@drover/lifecycle";
import { EnrollmentService, OperatorService, type EnrollmentServer, type NodeSessionServer, type OperatorServer } from "@drover/proto";
import { HealthImplementation } from "grpc-health-check";
import { Refused, refuse } from "../refusal.ts";
import { fitRequests, unfit } from "./fit-requests.ts";
import { ConnectionShares } from "./connection-shares.ts";
import { type DoorCounts, FrontDoor } from "./front-door.ts";
import type { Gate } from "./gate.ts";
import { limitedNodeSessionService, NODE_MESSAGE_LIMIT_BYTES } from "./node-session-service.ts";
import type { ServerIdentity } from "./server-credentials.ts";
import { grpcRefusal } from "./status.ts";

const OPERATOR_MESSAGE_LIMIT_BYTES = 4 * 1024 * 1024;
const STOP_GRACE_MS = 5_000;
const PROTO_FILES = ["drover/v1/enrollment.proto", "drover/v1/session.proto", "drover/v1/operator.proto"];

/** Unlimited by default: all are set. Keepalive finds nodes that lost their power, and with them sessions that block their successors. */
const LIMITS = {
  "grpc.max_connection_age_grace_ms": 300_000,
  "grpc.max_connection_idle_ms": 300_000,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
} as const;

/** Who enrols says two words and is gone. */
const ENROLMENT_LIMITS = { ...LIMITS, "grpc.max_connection_idle_ms": 30_000, "grpc.max_connection_age_ms": 120_000 } as const;
const ENROLMENT_CONNECTIONS = 500;

export interface RpcLimits {
  readonly streamsPerConnection: number;
  readonly connectionAgeMs: number;
  /** Of nodes, on the session port. */
  readonly connections: number;
  readonly operatorConnections: number;
  /** Before the end of their handshake. */
  readonly handshakes: number;
  readonly handshakeMs: number;
}

export interface RpcServersParts {
  readonly sessionAddress: { readonly host: string; readonly port: number };
  readonly enrolmentAddress: { readonly host: string; readonly port: number };
  readonly tls: ServerIdentity;
  readonly nodeSession: NodeSessionServer;
  readonly operator: OperatorServer;
  readonly renewal: EnrollmentServer;
  readonly enrolment: EnrollmentServer;
  readonly gate: Gate;
  readonly limits: RpcLimits;
  readonly clock: Clock;
  readonly log: Log;
}

export interface AdmissionCounts {
  readonly session: DoorCounts;
  readonly enrolment: DoorCounts;
  readonly held: ConnectionShares["held"] & { readonly stranger: number };
}

export class RpcServers {
  readonly #parts: RpcServersParts;
  readonly #sessions: Server;
  readonly #enrolment: Server;
  readonly #shares: ConnectionShares;
  readonly #doors: { readonly session: FrontDoor; readonly enrolment: FrontDoor };
  readonly #health: readonly HealthImplementation[];

  constructor(parts: RpcServersParts) {
    this.#parts = parts;
    const { streamsPerConnection, connectionAgeMs } = parts.limits;
    const limits = { ...LIMITS, "grpc.max_connection_age_ms": connectionAgeMs, "grpc.max_concurrent_streams": streamsPerConnection };
    this.#sessions = new Server({ ...limits, "grpc.max_receive_message_length": OPERATOR_MESSAGE_LIMIT_BYTES });
    this.#enrolment = new Server({
      ...ENROLMENT_LIMITS,
      "grpc.max_concurrent_streams": 4,
      "grpc.max_receive_message_length": NODE_MESSAGE_LIMIT_BYTES,
    });
    this.#sessions.addService(limitedNodeSessionService, parts.nodeSession);
    this.#sessions.addService(fitRequests(OperatorService, OPERATOR_MESSAGE_LIMIT_BYTES), parts.operator);
    const limitedEnrollment = fitRequests(EnrollmentService, NODE_MESSAGE_LIMIT_BYTES);
    this.#sessions.addService(limitedEnrollment, onlyFit(parts.renewal));
    this.#enrolment.addService(limitedEnrollment, onlyFit(parts.enrolment));
    this.#health = [
      healthOf(this.#sessions, ["drover.v1.NodeSession", "drover.v1.Operator", "drover.v1.Enrollment"]),
      healthOf(this.#enrolment, ["drover.v1.Enrollment"]),
    ];
    const proto = fileURLToPath(new URL("..", import.meta.resolve("@drover/proto")));
    this.#shares = new ConnectionShares({ nodes: parts.limits.connections, operators: parts.limits.operatorConnections }, parts.clock);
    const { tls, clock, log, limits: given } = parts;
    const doorOf = (server: Server, address: RpcServersParts["sessionAddress"], shares: ConnectionShares | undefined): FrontDoor =>
      new FrontDoor({
        address,
        tls,
        // TLS has ended before: what gRPC gets is the socket that it would have made.
        injector: server.createConnectionInjector(ServerCredentials.createInsecure()),
        shares,
        limits: { strangers: shares === undefined ? ENROLMENT_CONNECTIONS : given.handshakes, handshakeMs: given.handshakeMs },
        clock,
        log,
      });
    const session = doorOf(this.#sessions, parts.sessionAddress, this.#shares);
    this.#doors = { session, enrolment: doorOf(this.#enrolment, parts.enrolmentAddress, undefined) };
    parts.gate.turnAway((peer) => session.isTurnedAway(peer));
    new ReflectionService(loadSync(PROTO_FILES, { includeDirs: [proto], keepCase: true })).addToServer(this.#sessions);
  }

  /** @returns the ports. @throws when an address cannot be bound */
  async listen(): Promise<{ readonly sessionPort: number; readonly enrolmentPort: number }> {
    const { sessionAddress, enrolmentAddress } = this.#parts;
    return {
      sessionPort: await bind(this.#doors.session, sessionAddress),
      enrolmentPort: await bind(this.#doors.enrolment, enrolmentAddress),
    };
  }

  /** Since the start, and who is connected now. */
  admission(): AdmissionCounts {
    const { session, enrolment } = this.#doors;
    return { session: session.counts, enrolment: enrolment.counts, held: { ...this.#shares.held, stranger: session.strangers } };
  }

  /** What health checks answer. */
  setServing(isServing: boolean): void {
    for (const health of this.#health) {
      for (const service of ["", "drover.v1.NodeSession", "drover.v1.Operator", "drover.v1.Enrollment"]) {
        health.setStatus(service, isServing ? "SERVING" : "NOT_SERVING");
      }
    }
  }

  /** New calls are refused, open streams end UNAVAILABLE, unary calls may finish; what is left after a while is cut. */
  async stop(): Promise<void> {
    const { gate, clock, log } = this.#parts;
    this.setServing(false);
    const doors = [this.#doors.session, this.#doors.enrolment];
    for (const door of doors) door.close();
    const stopping = new Refused(refuse("Stopping", "the coordinator is stopping; come back in a moment"));
    const down = Promise.all(
      [this.#sessions, this.#enrolment].map((server) => new Promise<void>((resolve) => server.tryShutdown(() => resolve()))),
    );
    gate.live.cutAll(stopping);
    await withDeadline(clock, "ending gRPC calls", STOP_GRACE_MS, undefined, () => down).catch((error: unknown) => {
      log.warn({ error: (error as Error).message }, "calls were cut");
      this.#sessions.forceShutdown();
      this.#enrolment.forceShutdown();
    });
    for (const door of doors) door.destroy();
    gate.close();
  }
}

/** An address that cannot be had; the message says which. */
export class CannotListen extends Error {
  override readonly name = "CannotListen";
}

async function bind(door: FrontDoor, { host, port }: { readonly host: string; readonly port: number }): Promise<number> {
  try {
    return await door.listen();
  } catch (error) {
    const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    throw new CannotListen(`cannot listen on ${address}: ${(error as Error).message}; see who has it: ss -ltnp`, { cause: error });
  }
}

function healthOf(server: Server, services: readonly string[]): HealthImplementation {
  const health = new HealthImplementation(Object.fromEntries(["", ...services].map((service) => [service, "NOT_SERVING" as const])));
  health.addToServer(server);
  return health;
}

/** What does not decode is refused before the service sees it. */
function onlyFit(service: EnrollmentServer): EnrollmentServer {
  const checked = Object.entries(service as UntypedServiceImplementation).map(([name, answer]) => [
    name,
    (call: { readonly request: unknown }, callback: (error: unknown) => void) => {
      const refusal = unfit(call.request);
      if (refusal === undefined) (answer as (call: unknown, callback: unknown) => void)(call, callback);
      else callback(grpcRefusal(refusal));
    },
  ]);
  return Object.fromEntries(checked) as EnrollmentServer;
}
