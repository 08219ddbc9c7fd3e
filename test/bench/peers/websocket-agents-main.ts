/** The websocket peer's agents: real connections, spread over loopback addresses, each with a status of its own made beforehand. */
import { WebSocket } from "ws";
import { inTurn } from "./pace.ts";
import { peerReady, peerSettings } from "./peer-process.ts";
import { statusJson } from "./status-json.ts";

const AT_ONCE = 100;

const { agents, intervalMs, bytes, port, tls } = peerSettings();
const sockets: WebSocket[] = [];
const counts = { done: 0, missed: 0, failed: 0 };

while (sockets.length < agents) {
  const some = Array.from({ length: Math.min(AT_ONCE, agents - sockets.length) }, () => connected());
  sockets.push(...(await Promise.all(some)));
}
const statuses = sockets.map((_, agent) => statusJson(agent, bytes));
inTurn(agents, intervalMs, (agent) => {
  const socket = sockets[agent]!;
  if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > bytes) {
    counts.missed += 1;
    return;
  }
  socket.send(statuses[agent]!);
  counts.done += 1;
});
peerReady(0, () => counts);

async function connected(): Promise<WebSocket> {
  const socket = new WebSocket(`${tls === undefined ? "ws" : "wss"}://127.0.0.1:${port}`, {
    perMessageDeflate: false,
    rejectUnauthorized: false,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => (counts.failed += 1));
  return socket;
}
