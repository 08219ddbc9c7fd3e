/** Servers and their clients as processes of their own, so that the CPU of each is known; they end with this one. */
import { fork } from "node:child_process";

/** What a peer's process counts since its start; what does not apply stays 0. */
export interface PeerCounts {
  /** Check-ins that were sent, or taken where it is a server. */
  readonly done: number;
  /** Could not be sent when it was due: the one before was still under way. */
  readonly missed: number;
  readonly failed: number;
  /** Of a server that judges: agents it takes for dead now. */
  readonly unhealthy: number;
}

export interface PeerProcess extends AsyncDisposable {
  readonly pid: number;
  /** What it said when it was ready: the port of a server. */
  readonly port: number;
  counts(): Promise<PeerCounts>;
}

export interface PeerSettings {
  readonly agents: number;
  readonly intervalMs: number;
  /** Of a status. */
  readonly bytes: number;
  /** What a client connects to. */
  readonly port: number;
  /** Key and certificate, its own CA; undefined: no TLS. */
  readonly tls?: { readonly keyFile: string; readonly certFile: string } | undefined;
  /** Where a server may write. */
  readonly directory: string;
}

/** @throws when it ends before it is ready */
export async function startPeer(module: URL, settings: PeerSettings): Promise<PeerProcess> {
  const child = fork(module, [JSON.stringify(settings)], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
  });
  const next = <T>(): Promise<T> =>
    new Promise((resolve, reject) => {
      child.once("message", (message) => resolve(message as T));
      void ended.then(() => reject(new Error(`${module.pathname} has ended`)));
    });
  const { port } = await next<{ readonly port: number }>();
  return {
    pid: child.pid!,
    port,
    async counts() {
      const answer = next<PeerCounts>();
      child.send("counts");
      return await answer;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** In the process itself: its settings. */
export function peerSettings(): PeerSettings {
  return JSON.parse(process.argv[2] ?? "{}") as PeerSettings;
}

/** In the process itself: says that it is ready, and counts when asked. */
export function peerReady(port: number, counts: () => Partial<PeerCounts>): void {
  process.on("message", () => process.send?.({ done: 0, missed: 0, failed: 0, unhealthy: 0, ...counts() }));
  process.once("disconnect", () => process.exit(0));
  process.send?.({ port });
}
