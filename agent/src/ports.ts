/** What the agent's core needs of the world besides the Host: the bus, sessions with the coordinator, and durable state. */
import type { Budget, ConverseRequest, ConverseResponse, ToNode } from "@drover/proto";

/** NATS as one node sees it. Publishing never waits and never fails: what was lost is sent again from the outbox. */
export interface AgentBus {
  readonly isConnected: boolean;
  publishHeartbeat(beat: Uint8Array): void;
  /** @returns false when the outbound buffer is full; nothing was taken */
  publishReport(batch: Uint8Array): boolean;
  /** One listener each; set before run. */
  onToNode(listen: (message: ToNode) => void): void;
  onBudget(listen: (budget: Budget) => void): void;
  onConnected(listen: () => void): void;
  run(signal: AbortSignal): Promise<void>;
}

/** gRPC as one node sees it. */
export interface Sessions {
  /** Opens Converse. @throws when the coordinator cannot be reached or refuses */
  open(signal: AbortSignal): Promise<Conversation>;
}

/** The coordinator has no room for this node now, and gives it a time of its own. */
export class ComeAgain extends Error {
  override readonly name = "ComeAgain";
  /** Milliseconds from when it was said. */
  readonly inMs: number;

  constructor(message: string, inMs: number) {
    super(message);
    this.inMs = inMs;
  }
}

export interface Conversation {
  /** Resolves when written; bounded by the transport's flow control. */
  send(message: ConverseRequest): Promise<void>;
  /** Ends when the coordinator ends the session; throws when it breaks. */
  received(): AsyncIterable<ConverseResponse>;
  /** Half-closes our side. */
  close(): void;
}

/** Durable state under one directory (0700, files 0600); in the simulation, memory that survives a "crash". */
export interface StateDirectory {
  /** undefined: absent. */
  readFile(name: string): Promise<Buffer | undefined>;
  /** Durable when resolved: temporary file beside it, fsync, rename, fsync of the directory. */
  writeFile(name: string, content: Uint8Array): Promise<void>;
  removeFile(name: string): Promise<void>;
  /** Opens or creates an append-only log; a torn tail is cut off, a damaged middle is an error. */
  openLog(name: string): Promise<DurableLog>;
  /** Removes a log that is closed, with all its records; no error when absent. */
  removeLog(name: string): Promise<void>;
}

/** Records with length, checksum and sequence. */
export interface DurableLog {
  /** All whole records, oldest first. */
  readonly records: readonly LogRecord[];
  /** Sum of the records' lengths. */
  readonly sizeBytes: number;
  /** The sequence that the next append gets. */
  readonly nextSequence: number;
  /** Durable when resolved; concurrent appends share one fsync. @returns the record's sequence, from 1, never reused */
  append(payload: Uint8Array): Promise<number>;
  /** Forgets all records up to and with sequence; durable lazily (they may come back after a crash). */
  trimThrough(sequence: number): Promise<void>;
  close(): Promise<void>;
}

export interface LogRecord {
  readonly sequence: number;
  readonly payload: Buffer;
}
