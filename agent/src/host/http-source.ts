/** Bytes of an http or https URL from some place on: redirects bounded, each wait with a deadline, nothing secret in a message. */
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import type { Clock } from "@drover/lifecycle";
import { DownloadFailed, shownSource } from "./download-port.ts";

const MAX_REDIRECTS = 5;
const RESPONSE_MS = 30_000;
const IDLE_MS = 30_000;

export interface HttpBody {
  /** Where it begins: what was asked for, or 0 when the server knows no ranges. */
  readonly from: number;
  /** Of the whole file; undefined: the server does not say. */
  readonly totalBytes: number | undefined;
  readonly chunks: AsyncIterable<Buffer>;
  /** Also when nothing was read of it. */
  close(): void;
}

/** undefined: the server has nothing from there on. @throws DownloadFailed SourceUnreachable, SourceRefused */
export async function openUrl(source: string, from: number, clock: Clock, signal: AbortSignal): Promise<HttpBody | undefined> {
  let url = new URL(source);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const response = await ask(url, from, clock, signal);
    const status = response.statusCode ?? 0;
    const { location } = response.headers;
    if (status >= 300 && status < 400 && status !== 304 && location !== undefined) {
      response.destroy();
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (next === undefined || !/^https?:$/.test(next.protocol)) throw refused(url, "it redirects to what is no http or https URL");
      if (url.protocol === "https:" && next.protocol === "http:") throw refused(url, `it redirects from https to http: ${shown(next)}`);
      url = next;
      continue;
    }
    if (status === 200 || status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers["content-range"] ?? "");
      const start = status === 206 ? Number(range?.[1]) : 0;
      const length = response.headers["content-length"];
      const total = status === 206 ? Number(range?.[2]) : length === undefined ? Number.NaN : Number(length);
      if (start === from || start === 0) {
        const totalBytes = Number.isSafeInteger(total) ? total : undefined;
        return { from: start, totalBytes, chunks: bodyOf(response, url, clock, signal), close: () => void response.destroy() };
      }
      response.destroy();
      throw unreachable(url, "it sent another range than was asked for");
    }
    response.destroy();
    if (status === 416 && from > 0) return undefined;
    const isPassing = status >= 500 || status === 408 || status === 425 || status === 429;
    throw (isPassing ? unreachable : refused)(url, `the server answers ${status}`);
  }
  throw refused(new URL(source), `it redirects more than ${MAX_REDIRECTS} times`);
}

async function ask(url: URL, from: number, clock: Clock, signal: AbortSignal): Promise<IncomingMessage> {
  signal.throwIfAborted();
  const headers = { "accept-encoding": "identity", "user-agent": "drover-agent", ...(from > 0 ? { range: `bytes=${from}-` } : {}) };
  const request = await begin(url, { agent: false, headers, signal });
  const cancel = clock.setTimer(RESPONSE_MS, () => request.destroy(new Error(`no answer within ${RESPONSE_MS} ms`)));
  try {
    return await new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", resolve);
      request.on("error", reject);
      request.end();
    });
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(url, (error as Error).message || String((error as NodeJS.ErrnoException).code), error);
  } finally {
    cancel();
  }
}

/** Loaded at first use: an agent that fetches nothing needs neither. */
async function begin(url: URL, options: RequestOptions): Promise<ClientRequest> {
  if (url.protocol === "http:") return (await import("node:http")).request(url, options);
  const [{ request }, { getCACertificates }] = await Promise.all([import("node:https"), import("node:tls")]);
  // Whom the machine trusts counts too: a company's own mirror has a company's own CA.
  return request(url, { ...options, ca: [...getCACertificates("default"), ...getCACertificates("system")] });
}

async function* bodyOf(response: IncomingMessage, url: URL, clock: Clock, signal: AbortSignal): AsyncGenerator<Buffer> {
  const onIdle = (): void => void response.destroy(new Error(`nothing came for ${IDLE_MS} ms`));
  let cancel = clock.setTimer(IDLE_MS, onIdle);
  try {
    for await (const chunk of response) {
      cancel();
      // The time that the disk takes is not the server's.
      yield chunk as Buffer;
      cancel = clock.setTimer(IDLE_MS, onIdle);
    }
    if (!response.complete) throw new Error("the connection was cut");
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(url, (error as Error).message, error);
  } finally {
    cancel();
    response.destroy();
  }
}

function unreachable(url: URL, why: string, cause?: unknown): DownloadFailed {
  return new DownloadFailed("SourceUnreachable", `${shown(url)}: ${why}`, { cause });
}

function refused(url: URL, why: string): DownloadFailed {
  return new DownloadFailed("SourceRefused", `${shown(url)}: ${why}`);
}

function shown(url: URL): string {
  return shownSource(url.href);
}
