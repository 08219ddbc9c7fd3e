/** Where the embedded server can be reached: ports chosen once and kept, since nodes were told of them; and its monitor. */
import { accessSync, constants } from "node:fs";
import { createServer } from "node:net";
import { type Clock, type Random, withDeadline } from "@drover/lifecycle";

const BINARY_CANDIDATES = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"];
/** Below the kernel's range for outgoing connections: a port that is ours stays free while the server restarts. */
const CHOSEN_PORTS = { from: 20_000, to: 32_000 };

/** NATS cannot be used as things are; the message says what to do. */
export class NatsUnavailable extends Error {
  override readonly name = "NatsUnavailable";
  readonly reason: "ServerMissing" | "PortTaken" | "DidNotStart" | "CredentialsUnusable";

  constructor(reason: NatsUnavailable["reason"], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** @param configured an absolute path; undefined: where Debian and others install it. @throws NatsUnavailable ServerMissing */
export function findNatsServer(configured: string | undefined): string {
  const candidates = configured === undefined ? BINARY_CANDIDATES : [configured];
  const found = candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found !== undefined) return found;
  const hint = "install it (apt-get install nats-server), name its path in the configuration, or use an outside NATS cluster";
  throw new NatsUnavailable("ServerMissing", `nats-server is not at ${candidates.join(", ")}: ${hint}`);
}

export async function isFree(host: string, port: number): Promise<boolean> {
  return (await listenErrorOf(host, port)) === undefined;
}

/** Why nobody can listen there now, as an errno name; undefined: one can. */
export function listenErrorOf(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(undefined)));
  });
}

export async function choosePort(host: string, random: Random): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const port = CHOSEN_PORTS.from + Math.floor(random.unit() * (CHOSEN_PORTS.to - CHOSEN_PORTS.from));
    if (await isFree(host, port)) return port;
  }
  throw new NatsUnavailable("PortTaken", `no free port on ${host} between ${CHOSEN_PORTS.from} and ${CHOSEN_PORTS.to}`);
}

/** Whether the server at the monitor says that it is this one, and that its streams can be used. */
export async function isServing(monitorPort: number, serverName: string, clock: Clock): Promise<boolean> {
  try {
    return await withDeadline(clock, "the monitor of NATS", 2_000, undefined, async (signal) => {
      const about = await fetch(`http://127.0.0.1:${monitorPort}/varz`, { signal });
      const { server_name: name } = (await about.json()) as { server_name?: string };
      const health = await fetch(`http://127.0.0.1:${monitorPort}/healthz`, { signal });
      await health.arrayBuffer();
      return name === serverName && health.ok;
    });
  } catch {
    return false;
  }
}
