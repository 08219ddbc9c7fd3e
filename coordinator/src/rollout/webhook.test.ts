import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { askWebhook } from "./webhook.ts";

const question = { rollout: "web-1", nodeSet: "web", wave: 1, revision: "sha256:aa" };
const never = new AbortController().signal;
let server: Server | undefined;

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  server = createServer(answer);
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return `http://user:password@127.0.0.1:${(server.address() as AddressInfo).port}/gate?token=secret`;
}

afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  server = undefined;
});

describe("a webhook", () => {
  it("is asked by POST with the wave that is done, and 2xx passes", async () => {
    const heard: unknown[] = [];
    const url = await serve((request, response) => {
      let text = "";
      request.on("data", (chunk) => (text += String(chunk)));
      request.on("end", () => {
        heard.push([request.method, request.url, request.headers["content-type"], JSON.parse(text)]);
        response.writeHead(202).end("all\n good");
      });
    });
    const answer = await askWebhook(url, question, 5_000, never);
    expect(heard).toEqual([["POST", "/gate?token=secret", "application/json", question]]);
    expect(answer).toEqual({ isPassed: true, message: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+ answered 202: all good$/) });
  });

  it.each([503, 404, 302, 100 + 299])("that answers %i does not pass", async (status) => {
    const url = await serve((_request, response) => response.writeHead(status, { location: "/elsewhere" }).end());
    expect(await askWebhook(url, question, 5_000, never)).toMatchObject({
      isPassed: false,
      message: expect.stringContaining(`answered ${status}`),
    });
  });

  it("that never answers, hangs up, floods or is not there does not hold anybody up, and its secrets are not told", async () => {
    const silent = await serve(() => undefined);
    const late = await askWebhook(silent, question, 100, never);
    expect(late).toMatchObject({ isPassed: false, message: expect.stringContaining("no answer within 0.1 s") });
    expect(late.message).not.toMatch(/password|secret/);
    server!.removeAllListeners("request");
    server!.on("request", (request: IncomingMessage) => request.socket.destroy());
    expect(await askWebhook(silent, question, 5_000, never)).toMatchObject({ isPassed: false });
    server!.removeAllListeners("request");
    server!.on("request", (_request: IncomingMessage, response: ServerResponse) => {
      response.writeHead(500);
      const flood = setInterval(() => response.write("x".repeat(65_536)), 1);
      response.on("close", () => clearInterval(flood));
    });
    expect((await askWebhook(silent, question, 5_000, never)).message.length).toBeLessThan(400);
    const gone = new AbortController();
    gone.abort();
    expect(await askWebhook(silent, question, 5_000, gone.signal)).toMatchObject({ isPassed: false });
    const { port } = server!.address() as AddressInfo;
    await new Promise((resolve) => {
      server!.closeAllConnections();
      server!.close(resolve);
    });
    server = undefined;
    expect(await askWebhook(`http://127.0.0.1:${port}/`, question, 5_000, never)).toMatchObject({
      isPassed: false,
      message: expect.stringContaining("could not be asked"),
    });
  });
});
