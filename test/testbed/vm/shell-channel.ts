/** The outer end of guest/shell-server.pl: programs run in a vm over qemu's virtio port, whatever becomes of its network. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { constants } from "node:os";

const HELLO = Buffer.from("\xff\xffdrover-bed-hello", "latin1");
const READY = "drover-bed-ready";
/** Boot id and pid of the server. */
const IDENTITY_BYTES = 36 + 12;
const BOOT_ID_BYTES = 36;

export interface ShellSession {
  /** Resolves when the program has started. */
  readonly pid: Promise<number>;
  /** Exit code, or the signal's name. Rejects when the vm goes down before. */
  readonly ended: Promise<number | string>;
  readonly write: (bytes: Uint8Array) => void;
  readonly endInput: () => void;
  readonly signal: (number: number) => void;
  /** SIGKILL to its process group. */
  readonly kill: () => void;
}

interface Pending {
  readonly onOutput: (bytes: Buffer, isError: boolean) => void;
  readonly started: (pid: number) => void;
  readonly end: (how: number | string) => void;
  readonly fail: (error: Error) => void;
}

export class ShellChannel {
  readonly #socket: Socket;
  readonly #sessions = new Map<number, Pending>();
  readonly #changed = new Set<() => void>();
  #bootId: string | undefined;
  #isSynchronized = false;
  #isClosed = false;
  #received: Buffer = Buffer.alloc(0);
  #nextSession = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#socket.on("data", (bytes) => this.#read(bytes));
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => {
      this.#isClosed = true;
      this.#forget("its power was cut");
      this.#tellChange();
    });
  }

  /** @param path of the port's socket; rejects when qemu does not listen there yet */
  static async connect(path: string): Promise<ShellChannel> {
    const socket = connect(path);
    await once(socket, "connect");
    return new ShellChannel(socket);
  }

  /** Of the boot whose server answers now; undefined while none does. */
  get bootId(): string | undefined {
    return this.#isSynchronized ? this.#bootId : undefined;
  }

  /**
   * Waits for a server to answer; one that does already counts unless its boot is `notBootId`.
   * @returns its boot; undefined when qemu is gone
   */
  async answering(notBootId?: string): Promise<string | undefined> {
    while (!this.#isClosed) {
      if (this.bootId !== undefined && this.bootId !== notBootId) return this.bootId;
      await new Promise<void>((resolve) => {
        this.#changed.add(resolve);
      });
    }
    return undefined;
  }

  /** @throws when no server answers at the moment */
  open(argv: readonly string[], onOutput: (bytes: Buffer, isError: boolean) => void): ShellSession {
    if (this.#isClosed || !this.#isSynchronized) throw new Error("its shell does not answer: it is off, or on its way up or down");
    const number = this.#nextSession++;
    const pid = Promise.withResolvers<number>();
    const ended = Promise.withResolvers<number | string>();
    pid.promise.catch(() => {});
    ended.promise.catch(() => {});
    this.#sessions.set(number, {
      onOutput,
      started: pid.resolve,
      end: ended.resolve,
      fail: (error) => {
        pid.reject(error);
        ended.reject(error);
      },
    });
    const send = (type: string, payload: string | Uint8Array = ""): void => {
      if (this.#sessions.has(number)) this.#send(type, number, payload);
    };
    send("R", argv.join("\0"));
    return {
      pid: pid.promise,
      ended: ended.promise,
      write: (bytes) => {
        for (let at = 0; at < bytes.length; at += 65_536) send("I", bytes.subarray(at, at + 65_536));
      },
      endInput: () => send("E"),
      signal: (which) => send("S", String(which)),
      kill: () => send("K"),
    };
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(type: string, session: number, payload: string | Uint8Array): void {
    const bytes = Buffer.from(payload);
    const head = Buffer.alloc(9);
    head.writeUInt32BE(5 + bytes.length, 0);
    head.write(type, 4, "latin1");
    head.writeUInt32BE(session, 5);
    this.#socket.write(Buffer.concat([head, bytes]));
  }

  #read(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    // A new server speaks: the old one is gone, wherever in a frame it was.
    const hello = this.#received.lastIndexOf(HELLO);
    if (hello >= 0 && this.#received.length >= hello + HELLO.length + IDENTITY_BYTES) {
      const identity = this.#received.toString("latin1", hello + HELLO.length, hello + HELLO.length + IDENTITY_BYTES);
      this.#received = this.#received.subarray(hello + HELLO.length + IDENTITY_BYTES);
      this.#forget("it was started again");
      this.#bootId = identity.slice(0, BOOT_ID_BYTES);
      this.#isSynchronized = true;
      this.#socket.write(READY + identity);
      this.#tellChange();
    }
    if (this.#isSynchronized) this.#frames();
  }

  #frames(): void {
    while (this.#received.length >= 9) {
      const length = this.#received.readUInt32BE(0);
      if (length === 0) {
        // Of the zeros before a greeting, which fill up the frame that the last server did not finish.
        this.#received = this.#received.subarray(1);
        continue;
      }
      if (this.#received.length < 4 + length) return;
      const type = this.#received.toString("latin1", 4, 5);
      const number = this.#received.readUInt32BE(5);
      const pending = this.#sessions.get(number);
      const payload = this.#received.subarray(9, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      if (pending === undefined) continue;
      if (type === "O" || type === "R") pending.onOutput(Buffer.from(payload), type === "R");
      else if (type === "P") pending.started(Number(payload.toString("latin1")));
      else if (type === "X") {
        this.#sessions.delete(number);
        const [how, value] = payload.toString("latin1").split(" ");
        pending.end(how === "exit" ? Number(value) : signalName(Number(value)));
      }
    }
  }

  #tellChange(): void {
    for (const changed of this.#changed) changed();
    this.#changed.clear();
  }

  #forget(why: string): void {
    this.#isSynchronized = false;
    for (const pending of this.#sessions.values()) pending.fail(new Error(why));
    this.#sessions.clear();
  }
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}
