/**
 * The peer in Rancher's manner: a connection per agent, a ping each 5 s, each JSON status parsed and written to the store,
 * unhealthy after 40 s without one. At its best: no compression, pings from one timer, SQLite as ours (WAL, FULL) with writes committed in groups.
 */
import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { peerReady, peerSettings } from "./peer-process.ts";

const PING_EVERY_MS = 5_000;
const PING_TURNS = 100;
const COMMIT_EVERY_MS = 100;
const UNHEALTHY_AFTER_MS = 40_000;

const { tls, directory } = peerSettings();
const database = new DatabaseSync(join(directory, "websocket.sqlite"));
database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
database.exec("CREATE TABLE IF NOT EXISTS status (node TEXT PRIMARY KEY, json TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID");
const upsert = database.prepare(
  "INSERT INTO status VALUES (?, ?, ?) ON CONFLICT (node) DO UPDATE SET json = excluded.json, at = excluded.at",
);

const sockets: WebSocket[] = [];
const lastStatusMs = new Map<string, number>();
let waiting: { readonly node: string; readonly json: string }[] = [];
let taken = 0;
let unhealthy = 0;

const http =
  tls === undefined ? createHttpServer() : createHttpsServer({ key: readFileSync(tls.keyFile), cert: readFileSync(tls.certFile) });
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on("connection", (socket) => {
  sockets.push(socket);
  socket.on("error", () => socket.terminate());
  socket.on("message", (bytes: RawData) => {
    const json = (bytes as Buffer).toString();
    const { node } = JSON.parse(json) as { readonly node: string };
    lastStatusMs.set(node, performance.now());
    waiting.push({ node, json });
    taken += 1;
  });
});
let turn = 0;
setInterval(() => {
  turn = (turn + 1) % PING_TURNS;
  for (let index = turn; index < sockets.length; index += PING_TURNS) sockets[index]!.ping();
}, PING_EVERY_MS / PING_TURNS);
setInterval(() => {
  const batch = waiting;
  waiting = [];
  if (batch.length === 0) return;
  database.exec("BEGIN");
  for (const { node, json } of batch) upsert.run(node, json, Date.now());
  database.exec("COMMIT");
}, COMMIT_EVERY_MS);
setInterval(() => {
  const longAgoMs = performance.now() - UNHEALTHY_AFTER_MS;
  unhealthy = 0;
  for (const atMs of lastStatusMs.values()) if (atMs < longAgoMs) unhealthy += 1;
}, 1_000);
http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () =>
  peerReady((http.address() as AddressInfo).port, () => ({ done: taken, unhealthy })),
);
