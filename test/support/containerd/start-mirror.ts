/** A registry mirror that passes everything on, as slowly as a test wants, and tells what went through it. */
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface MirrorOptions {
  /** Of each blob's transfer; default unlimited. */
  readonly bytesPerSecond?: number;
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
  let peakRepositories = 0;
  let sentBytes = 0;
  const blobRequests: { digest: string; range: string | undefined }[] = [];
  const transfers: string[] = [];

  const sendSlowly = async (from: IncomingMessage, to: ServerResponse): Promise<void> => {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length && !to.destroyed; at += SLICE_BYTES) {
        const slice = chunk.subarray(at, at + SLICE_BYTES);
        if (Number.isFinite(bytesPerSecond)) await pause((slice.length / bytesPerSecond) * 1000);
        sentBytes += slice.length;
        to.write(slice);
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
    const passed = request(new URL(incoming.url ?? "/", upstream), { method: incoming.method!, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      if (blob === null) answer.pipe(outgoing);
      else sendSlowly(answer, outgoing).catch(() => outgoing.destroy());
    });
    passed.once("error", () => outgoing.destroy());
    outgoing.once("close", () => passed.destroy());
    incoming.pipe(passed);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
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

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
