/** What the websocket peer uses of `ws`; the package brings no types. */
declare module "ws" {
  import type { EventEmitter } from "node:events";
  import type { Server } from "node:http";
  import type { Server as TlsServer } from "node:https";

  export type RawData = Buffer | ArrayBuffer | Buffer[];

  export class WebSocket extends EventEmitter {
    static readonly OPEN: 1;
    readonly readyState: 0 | 1 | 2 | 3;
    /** Bytes that wait to be written. */
    readonly bufferedAmount: number;
    constructor(url: string, options?: { readonly perMessageDeflate?: boolean; readonly rejectUnauthorized?: boolean });
    send(text: string): void;
    ping(): void;
    terminate(): void;
    on(event: "message", listen: (data: RawData, isBinary: boolean) => void): this;
    on(event: "error", listen: (error: Error) => void): this;
  }

  export class WebSocketServer extends EventEmitter {
    constructor(options: { readonly server: Server | TlsServer; readonly perMessageDeflate?: boolean });
    on(event: "connection", listen: (socket: WebSocket) => void): this;
  }
}
