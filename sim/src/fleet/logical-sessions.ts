/** Sessions of logical agents, all through one unix socket into the simulation's coordinator. */
import { connect, type Socket } from "node:net";
import { ConverseRequest, ConverseResponse } from "@drover/proto";
import { encodeFrame, frameKinds, FrameReader } from "../coordinator/session-frames.ts";
import type { FleetSession, FleetSessions, SessionListener } from "./ports.ts";

const EMPTY = Buffer.alloc(0);

export class LogicalSessions implements FleetSessions {
  readonly #path: string;
  readonly #nodeIdOf: (agent: number) => string;
  readonly #live = new Map<number, SessionListener>();
  #socket: Socket | undefined;
  #last = 0;
  #isClosed = false;

  constructor(path: string, nodeIdOf: (agent: number) => string) {
    this.#path = path;
    this.#nodeIdOf = nodeIdOf;
  }

  open(agent: number, listener: SessionListener): FleetSession {
    const socket = this.#connected();
    const number = (this.#last = (this.#last + 1) >>> 0);
    this.#live.set(number, listener);
    socket.write(encodeFrame(number, frameKinds.open, Buffer.from(this.#nodeIdOf(agent), "latin1")));
    const write = (kind: number, payload: Uint8Array): void => {
      if (this.#live.has(number)) socket.write(encodeFrame(number, kind, payload));
    };
    return {
      send: (body) => write(frameKinds.message, ConverseRequest.encode({ body }).finish()),
      end: () => write(frameKinds.end, EMPTY),
      abandon: () => {
        write(frameKinds.end, EMPTY);
        this.#live.delete(number);
      },
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.destroy();
  }

  /** The socket of now; when it fails, so do the sessions on it, and the next one makes another. */
  #connected(): Socket {
    if (this.#socket !== undefined) return this.#socket;
    const socket = connect(this.#path);
    this.#socket = socket;
    const reader = new FrameReader();
    socket.on("data", (chunk) => {
      for (const { session, kind, payload } of reader.take(chunk)) {
        const listener = this.#live.get(session);
        if (kind === frameKinds.message) listener?.received(ConverseResponse.decode(payload));
        else {
          this.#live.delete(session);
          listener?.ended(payload.toString("utf8"));
        }
      }
    });
    socket.on("error", () => undefined);
    socket.once("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
      const broken = [...this.#live.values()];
      this.#live.clear();
      if (!this.#isClosed) for (const listener of broken) listener.ended("the coordinator has gone");
    });
    return socket;
  }
}
