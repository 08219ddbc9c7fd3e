/** The simulation's way into its own coordinator for sessions of logical agents: what mTLS and gRPC do for real ones, without either. */
import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import type { Coordinator } from "@drover/coordinator/real";
import { ConverseRequest, ConverseResponse } from "@drover/proto";
import { encodeFrame, frameKinds, FrameReader } from "./session-frames.ts";

const EMPTY = Buffer.alloc(0);

/** Serves on a unix socket until the signal aborts. */
export async function runSessionDoor(path: string, coordinator: Pick<Coordinator, "converse">, signal: AbortSignal): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    // A signal for each session, as real ones have: of one that thousands listen to, each further listener is compared with all of them.
    const open = new Set<AbortController>();
    socket.once("close", () => {
      sockets.delete(socket);
      for (const session of open) session.abort(new Error("the simulation has gone"));
    });
    serveSocket(socket, coordinator, open);
  });
  // A coordinator that was killed has left it.
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

function serveSocket(socket: Socket, coordinator: Pick<Coordinator, "converse">, open: Set<AbortController>): void {
  const reader = new FrameReader();
  const inboxes = new Map<number, Inbox>();
  socket.on("data", (chunk) => {
    for (const { session, kind, payload } of reader.take(chunk)) {
      if (kind === frameKinds.open) {
        const inbox = new Inbox();
        inboxes.set(session, inbox);
        void converse(session, payload.toString("latin1"), inbox);
      } else if (kind === frameKinds.message) inboxes.get(session)?.push(ConverseRequest.decode(payload));
      else inboxes.get(session)?.end();
    }
  });

  async function converse(session: number, nodeId: string, inbox: Inbox): Promise<void> {
    let why = "";
    const ended = new AbortController();
    open.add(ended);
    try {
      for await (const message of coordinator.converse(nodeId, inbox, ended.signal)) {
        socket.write(encodeFrame(session, frameKinds.message, ConverseResponse.encode(message).finish()));
      }
    } catch (error) {
      why = (error as Error).message;
    }
    open.delete(ended);
    inboxes.delete(session);
    if (!socket.destroyed) socket.write(encodeFrame(session, frameKinds.end, why === "" ? EMPTY : Buffer.from(why)));
  }
}

/** What one agent has said and the coordinator has not heard yet. */
class Inbox implements AsyncIterable<ConverseRequest> {
  readonly #messages: ConverseRequest[] = [];
  #isEnded = false;
  #wake: (() => void) | undefined;

  push(message: ConverseRequest): void {
    this.#messages.push(message);
    this.#wake?.();
  }

  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<ConverseRequest> {
    return {
      next: async () => {
        for (;;) {
          const value = this.#messages.shift();
          if (value !== undefined) return { done: false, value };
          if (this.#isEnded) return { done: true, value: undefined };
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
        }
      },
      return: async () => {
        this.end();
        return { done: true, value: undefined };
      },
    };
  }
}
