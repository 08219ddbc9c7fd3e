import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { NetworkProbes } from "./network-probes.ts";

const never = new AbortController().signal;
const probes = new NetworkProbes();
const closing: { close(): void }[] = [];

afterEach(() => {
  for (const each of closing.splice(0)) each.close();
});

async function serve(status: number | "silent"): Promise<string> {
  const server: Server = createServer((_request, response) => {
    if (status === "silent") return;
    response.writeHead(status, { location: "http://127.0.0.1:1/" });
    response.end("x".repeat(100_000));
  });
  closing.push({ close: () => server.closeAllConnections() }, server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/healthz`;
}

describe("probes over real sockets", () => {
  it.each([200, 204, 301, 399])("status %i passes, and no redirect is followed", async (status) => {
    expect(await probes.http(await serve(status), 2_000, never)).toEqual({ isPassed: true });
  });

  it.each([400, 404, 500, 503])("status %i does not", async (status) => {
    const url = await serve(status);
    expect(await probes.http(url, 2_000, never)).toEqual({ isPassed: false, reason: "HttpStatus", message: `${url} answered ${status}` });
  });

  it("says that nothing came in time", async () => {
    expect(await probes.http(await serve("silent"), 50, never)).toMatchObject({ reason: "TimedOut", message: "no answer within 50 ms" });
  });

  it("tells a listening port from one where nothing listens", async () => {
    const server = createTcpServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    const { port } = server.address() as AddressInfo;
    expect(await probes.tcp(port, 2_000, never)).toEqual({ isPassed: true });
    await new Promise((resolve) => {
      server.close(resolve);
    });
    expect(await probes.tcp(port, 2_000, never)).toMatchObject({ isPassed: false, reason: "ConnectionRefused" });
  });

  it("ends at once when it is told to", async () => {
    const stop = new AbortController();
    const asked = probes.http(await serve("silent"), 60_000, stop.signal);
    stop.abort(new Error("stopping"));
    await expect(asked).rejects.toThrow("stopping");
  });
});
