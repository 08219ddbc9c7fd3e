/** /metrics, /healthz and /readyz over plain HTTP, meant for loopback: nothing secret, and nothing that changes anything. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Log } from "@drover/lifecycle";
import type { Metrics } from "./metrics.ts";

export interface MetricsServerParts {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly metrics: Metrics;
  /** Why the coordinator is not ready; undefined: it is. */
  readonly unready: () => string | undefined;
  readonly log: Log;
}

export class MetricsServer {
  readonly #parts: MetricsServerParts;
  readonly #server: Server;

  constructor(parts: MetricsServerParts) {
    this.#parts = parts;
    this.#server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
      void this.#answer(request.method ?? "", request.url ?? "").then(({ status, text, type }) => {
        response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
        response.end(request.method === "HEAD" ? undefined : text);
      });
    });
    this.#server.maxConnections = 100;
  }

  /** @returns the port. @throws when the address cannot be bound */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#parts.port, this.#parts.host, () => {
        this.#server.removeListener("error", reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  /** Serves until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    this.#parts.metrics.close();
  }

  async #answer(method: string, url: string): Promise<{ status: number; text: string; type: string }> {
    const plain = (status: number, text: string) => ({ status, text: `${text}\n`, type: "text/plain; charset=utf-8" });
    if (method !== "GET" && method !== "HEAD") return plain(405, "only GET");
    switch (url.replace(/\?.*$/s, "")) {
      case "/healthz":
        return plain(200, "ok");
      case "/readyz": {
        const why = this.#parts.unready();
        return why === undefined ? plain(200, "ok") : plain(503, why);
      }
      case "/metrics":
        try {
          return { status: 200, text: await this.#parts.metrics.text(), type: this.#parts.metrics.contentType };
        } catch (error) {
          this.#parts.log.error({ err: error }, "metrics could not be read");
          return plain(500, "metrics could not be read; the log says why");
        }
      default:
        return plain(404, "there are /metrics, /healthz and /readyz");
    }
  }
}
