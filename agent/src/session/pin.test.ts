import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { createServer } from "node:tls";
import { X509Certificate } from "node:crypto";
import { systemClock } from "@drover/lifecycle";
import { afterEach, describe, expect, test } from "vitest";
import { FakeAuthority } from "./fake-authority.ts";
import { findPinnedCa, splitEndpoint } from "./pin.ts";

interface Recorded {
  readonly endpoint: string;
  /** Application bytes that arrived, after the handshake. */
  readonly received: Buffer[];
  /** Resolves when the client has closed. */
  readonly closed: Promise<void>;
}

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

async function listening(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A TLS server that writes first, so that silence on our side is not for want of an occasion. */
async function recordingServer(pair: { keyPem: string; chainPem: string }): Promise<Recorded> {
  const received: Buffer[] = [];
  let noteClosed = (): void => {};
  const closed = new Promise<void>((resolve) => {
    noteClosed = resolve;
  });
  const server = createServer({ key: pair.keyPem, cert: pair.chainPem, ALPNProtocols: ["h2"] }, (socket) => {
    socket.write("speak, friend");
    socket.on("data", (bytes) => received.push(bytes));
    socket.on("error", () => undefined);
    socket.on("close", noteClosed);
  });
  return { endpoint: await listening(server), received, closed };
}

const never = new AbortController().signal;

describe("finding the pinned CA", () => {
  test("the CA of the pin is found, and not one application byte was sent for it", async () => {
    const authority = await FakeAuthority.make();
    const server = await recordingServer(await authority.serverPair());
    const found = await findPinnedCa(systemClock, server.endpoint, authority.pin, never);
    expect(found).toEqual({ kind: "trusted", caPem: authority.certificate.toString() });
    await server.closed;
    expect(server.received).toEqual([]);
  });

  test("with a wrong pin not one application byte arrives, and what was presented is named", async () => {
    const authority = await FakeAuthority.make();
    const server = await recordingServer(await authority.serverPair());
    const found = await findPinnedCa(systemClock, server.endpoint, `sha256:${"0".repeat(64)}`, never);
    expect(found).toEqual({ kind: "mismatch", presented: [authority.pin] });
    await server.closed;
    expect(server.received).toEqual([]);
  });

  test("the right CA behind a leaf that it did not sign is no match", async () => {
    const [authority, thief] = [await FakeAuthority.make(), await FakeAuthority.make()];
    const stolen = await thief.serverPair();
    const leafPem = new X509Certificate(stolen.chainPem).toString();
    const server = await recordingServer({ keyPem: stolen.keyPem, chainPem: leafPem + authority.certificate.toString() });
    expect(await findPinnedCa(systemClock, server.endpoint, authority.pin, never)).toMatchObject({ kind: "mismatch" });
  });

  test("a chain without its CA is no match", async () => {
    const authority = await FakeAuthority.make();
    const pair = await authority.serverPair();
    const server = await recordingServer({ ...pair, chainPem: new X509Certificate(pair.chainPem).toString() });
    expect(await findPinnedCa(systemClock, server.endpoint, authority.pin, never)).toEqual({ kind: "mismatch", presented: [] });
  });

  test("a port that nobody listens on, and one that hangs up, are unreachable", async () => {
    const endpoint = await listening(createTcpServer((socket) => socket.destroy()));
    expect(await findPinnedCa(systemClock, endpoint, "sha256:", never)).toMatchObject({ kind: "unreachable" });
    expect(await findPinnedCa(systemClock, "127.0.0.1:1", "sha256:", never)).toMatchObject({ kind: "unreachable" });
  });

  test("an abort ends a handshake that hangs", async () => {
    const endpoint = await listening(createTcpServer((socket) => socket.on("error", () => undefined)));
    const controller = new AbortController();
    const finding = findPinnedCa(systemClock, endpoint, "sha256:", controller.signal);
    controller.abort(new Error("stop"));
    await expect(finding).rejects.toThrow("stop");
  });
});

test("endpoints are split at the last colon", () => {
  expect(splitEndpoint("[::1]:7443")).toEqual({ host: "::1", port: 7443 });
  expect(splitEndpoint("coordinator.example:7443")).toEqual({ host: "coordinator.example", port: 7443 });
});
