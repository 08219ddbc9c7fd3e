/** One channel to containerd's socket: every call with a deadline, a namespace and errors of one type. */
import { type Clock, DeadlineExceeded, withDeadline } from "@drover/lifecycle";
import { Client, type ClientDuplexStream, credentials, Metadata, type MethodDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { ContainerdError, type ContainerdErrorCode } from "../containerd-port.ts";

/** Where the kubelet's images live. */
const NAMESPACE = "k8s.io";
const DEFAULT_TIMEOUT_MS = 20_000;
const MAX_MESSAGE_BYTES = 16 * 2 ** 20;

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  /** What is created belongs to this lease, so that it is not collected before it is referenced. */
  readonly lease?: string;
}

/** Messages go out one by one, each answered before the next. */
export interface Exchange<Request, Response> {
  ask(request: Request): Promise<Response>;
  close(): void;
}

export class Connection {
  readonly clock: Clock;
  readonly #socketPath: string;
  readonly #client: Client;

  constructor(socketPath: string, clock: Clock) {
    this.clock = clock;
    this.#socketPath = socketPath;
    this.#client = new Client(`unix://${socketPath}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      // A restarted containerd is found again at once: nobody else waits for this socket.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1000,
      "grpc.client_idle_timeout_ms": 60_000,
    });
  }

  unary<Request, Response>(method: MethodDefinition<Request, Response>, request: Request, options: CallOptions): Promise<Response> {
    return this.#bounded(method.path, options, (signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<Response>();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        headers(options),
        {},
        (error, response) => (error ? reject(error) : resolve(response!)),
      );
      return cancelled(call, signal, promise);
    });
  }

  /** All messages of a stream that ends by itself. */
  collect<Request, Response>(method: MethodDefinition<Request, Response>, request: Request, options: CallOptions): Promise<Response[]> {
    return this.#bounded(method.path, options, (signal) => {
      const call = this.#client.makeServerStreamRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        headers(options),
      );
      const { promise, resolve, reject } = Promise.withResolvers<Response[]>();
      const messages: Response[] = [];
      call.on("data", (message: Response) => messages.push(message));
      call.on("end", () => resolve(messages));
      call.on("error", reject);
      return cancelled(call, signal, promise);
    });
  }

  /** The deadline is each exchange's own. */
  exchange<Request, Response>(method: MethodDefinition<Request, Response>, options: CallOptions): Exchange<Request, Response> {
    const call: ClientDuplexStream<Request, Response> = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      headers(options),
    );
    // The iterator reports errors to whoever asks next; between questions there may be nobody.
    call.on("error", () => {});
    const answers = call[Symbol.asyncIterator]() as AsyncIterator<Response>;
    return {
      ask: (request) =>
        this.#bounded(method.path, options, async (signal) => {
          call.write(request);
          const answer = await cancelled(call, signal, answers.next());
          if (answer.done) throw new ContainerdError("Unavailable", `${method.path}: the stream ended without an answer`);
          return answer.value;
        }),
      close: () => {
        call.end();
        call.cancel();
      },
    };
  }

  close(): void {
    this.#client.close();
  }

  async #bounded<T>(path: string, options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await withDeadline(this.clock, path, options.timeoutMs ?? DEFAULT_TIMEOUT_MS, options.signal, work);
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason;
      throw this.#typed(path, error);
    }
  }

  #typed(path: string, error: unknown): unknown {
    if (error instanceof DeadlineExceeded) return new ContainerdError("DeadlineExceeded", `containerd: ${error.message}`, { cause: error });
    if (!isServiceError(error)) return error;
    const code = codeOf(error.code);
    if (code === "Unavailable") {
      return new ContainerdError(code, `containerd does not answer on ${this.#socketPath}: ${error.details}`, { cause: error });
    }
    return new ContainerdError(code, `containerd ${path.slice(path.lastIndexOf(".") + 1)}: ${error.details}`, { cause: error });
  }
}

function codeOf(code: status): ContainerdErrorCode {
  // grpc-js calls a write to a socket whose server was killed INTERNAL (EPIPE); containerd's own errors are others.
  if (code === status.UNAVAILABLE || code === status.CANCELLED || code === status.INTERNAL) return "Unavailable";
  if (code === status.DEADLINE_EXCEEDED) return "DeadlineExceeded";
  if (code === status.NOT_FOUND) return "NotFound";
  if (code === status.ALREADY_EXISTS) return "AlreadyExists";
  if (code === status.UNIMPLEMENTED) return "Unsupported";
  return "Failed";
}

function headers(options: CallOptions): Metadata {
  const metadata = new Metadata();
  metadata.set("containerd-namespace", NAMESPACE);
  if (options.lease !== undefined) metadata.set("containerd-lease", options.lease);
  return metadata;
}

async function cancelled<T>(call: { cancel(): void }, signal: AbortSignal, ending: Promise<T>): Promise<T> {
  const cancel = (): void => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await ending;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && typeof error.code === "number";
}
