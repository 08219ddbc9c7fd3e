/** A registry mirror that passes everything on, as slowly as a test wants, and tells what went through it. */
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface MirrorOptions {
  /** Of each blob's transfer; default unlimited. */
  readonly bytesPerSecond?: number;
  /** Before the first byte of each answer; default 0. */
  readonly delayMs?: number;
  /** Where it listens; default a free port of 127.0.0.1. */
  readonly listen?: { readonly host: string; readonly port: number };
}

export interface RunningMirror {
  readonly url: string;
  /** How many repositories' blobs were on their way at once, at most. */
  readonly peakRepositories: number;
  /** Bytes of blobs that were sent. */
  readonly sentBytes: number;
  /** Of blob requests, in order: digest and the Range they asked for. */
  readonly blobRequests: readonly { readonly digest: string; readonly range: string | undefined }[];
  setBytesPerSecond(bytesPerSecond: number): void;
  stop(): Promise<void>;
}

const SLICE_BYTES = 16 * 1024;

export async function startMirror(upstream: string, options: MirrorOptions = {}): Promise<RunningMirror> {
  let bytesPerSecond = options.bytesPerSecond ?? Number.POSITIVE_INFINITY;
  const { delayMs = 0, listen = { host: "127.0.0.1", port: 0 } } = options;
  let peakRepositories = 0;
  let sentBytes = 0;
  const blobRequests: { digest: string; range: string | undefined }[] = [];
  const transfers: string[] = [];

  const sendSlowly = async (from: IncomingMessage, to: ServerResponse): Promise<void> => {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      const sliceBytes = Number.isFinite(bytesPerSecond) ? SLICE_BYTES : chunk.length;
      for (let at = 0; at < chunk.length && !to.destroyed; at += sliceBytes) {
        const slice = chunk.subarray(at, at + sliceBytes);
        if (Number.isFinite(bytesPerSecond)) await pause((slice.length / bytesPerSecond) * 1000);
        sentBytes += slice.length;
        // Whoever reads more slowly than we do would have us hold a whole layer.
        if (!to.write(slice) && !to.destroyed) await drainedOrClosed(to);
      }
    }
    to.end();
  };

  const server = createServer((incoming, outgoing) => {
    const blob = incoming.method === "GET" ? /^\/v2\/(.+)\/blobs\/(sha256:[0-9a-f]{64})/.exec(incoming.url ?? "") : null;
    if (blob !== null) {
      blobRequests.push({ digest: blob[2]!, range: incoming.headers.range });
      transfers.push(blob[1]!);
      peakRepositories = Math.max(peakRepositories, new Set(transfers).size);
      outgoing.once("close", () => transfers.splice(transfers.indexOf(blob[1]!), 1));
    }
    const about = { method: incoming.method!, headers: incoming.headers };
    const passed = request(new URL(incoming.url ?? "/", upstream), about, (answer) => {
      const answering = async (): Promise<void> => {
        if (delayMs > 0) await pause(delayMs);
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        if (blob === null) answer.pipe(outgoing);
        else await sendSlowly(answer, outgoing);
      };
      answering().catch(() => outgoing.destroy());
    });
    passed.once("error", () => outgoing.destroy());
    outgoing.once("close", () => passed.destroy());
    incoming.pipe(passed);
  });
  await new Promise<void>((resolve) => {
    server.listen(listen, resolve);
  });
  return {
    url: `http://${listen.host}:${(server.address() as AddressInfo).port}`,
    get peakRepositories() {
      return peakRepositories;
    },
    get sentBytes() {
      return sentBytes;
    },
    blobRequests,
    setBytesPerSecond: (value) => {
      bytesPerSecond = value;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function drainedOrClosed(to: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      to.off("drain", done);
      to.off("close", done);
      resolve();
    };
    to.on("drain", done);
    to.on("close", done);
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
