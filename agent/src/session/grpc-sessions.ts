/** Sessions over gRPC with mTLS. Each conversation has a channel of its own, so an idle node holds nothing open and a rotated credential is used at once. */
import { type Clock, withDeadline } from "@drover/lifecycle";
import { type ConverseRequest, type ConverseResponse, NodeSessionClient } from "@drover/proto";
import { type ChannelCredentials, type ClientDuplexStream, connectivityState } from "@grpc/grpc-js";
import type { Conversation, Sessions } from "../ports.ts";
import { channelOptions, mutualTls, told } from "./channel.ts";
import type { CredentialSource } from "./credential-rotation.ts";
import type { NodeIdentity } from "./identity.ts";

const CONNECT_TIMEOUT_MS = 15_000;
const SEND_TIMEOUT_MS = 30_000;
const CLOSE_AFTER_MS = 50;

export class GrpcSessions implements Sessions {
  readonly #clock: Clock;
  readonly #credentials: CredentialSource;
  /** Kept while the identity is the same, so that its TLS session is resumed. */
  #tls: { readonly identity: NodeIdentity; readonly credentials: ChannelCredentials } | undefined;

  constructor(clock: Clock, credentials: CredentialSource) {
    this.#clock = clock;
    this.#credentials = credentials;
  }

  /** @param signal also ends the conversation, whenever it aborts */
  async open(signal: AbortSignal): Promise<Conversation> {
    const identity = this.#credentials.current;
    if (this.#tls?.identity !== identity) this.#tls = { identity, credentials: mutualTls(identity) };
    const client = new NodeSessionClient(identity.credential.sessionEndpoint, this.#tls.credentials, channelOptions);
    try {
      await withDeadline(this.#clock, "connecting to the coordinator", CONNECT_TIMEOUT_MS, signal, () => untilReady(client));
    } catch (error) {
      client.close();
      throw error;
    }
    return new GrpcConversation(this.#clock, client, signal);
  }
}

/** @throws with the reason when no connection can be made now; the channel's own retries are not waited for */
async function untilReady(client: NodeSessionClient): Promise<void> {
  const channel = client.getChannel();
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return;
    if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) throw await whyNot(client);
    await new Promise<void>((resolve, reject) => {
      channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/** Only a call learns why a channel has failed. */
function whyNot(client: NodeSessionClient): Promise<Error> {
  return new Promise((resolve) => {
    client.converse().on("error", resolve);
  });
}

class GrpcConversation implements Conversation {
  readonly #clock: Clock;
  readonly #stream: ClientDuplexStream<ConverseRequest, ConverseResponse>;
  readonly #ended = new AbortController();

  constructor(clock: Clock, client: NodeSessionClient, signal: AbortSignal) {
    this.#clock = clock;
    this.#stream = client.converse();
    const stream = this.#stream;
    const onAbort = (): void => stream.cancel();
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    // Whoever reads or writes gets the error; without a listener it would end the process.
    stream.on("error", (error) => this.#ended.abort(told(error)));
    stream.on("status", (ending) => {
      signal.removeEventListener("abort", onAbort);
      this.#ended.abort(new Error(`the session has ended: ${ending.details || "closed by the coordinator"}`));
      // Closed in the same turn, the channel would forget to tell the coordinator that the stream was cancelled.
      clock.setTimer(CLOSE_AFTER_MS, () => client.close());
    });
  }

  async send(message: ConverseRequest): Promise<void> {
    this.#ended.signal.throwIfAborted();
    try {
      await withDeadline(this.#clock, "sending to the coordinator", SEND_TIMEOUT_MS, this.#ended.signal, () => {
        return new Promise<void>((resolve, reject) => {
          this.#stream.write(message, (error?: Error | null) => (error ? reject(error) : resolve()));
        });
      });
    } catch (error) {
      this.#stream.cancel();
      throw error;
    }
  }

  async *received(): AsyncIterable<ConverseResponse> {
    // Ends and errors with the stream; reading no further holds the coordinator back by flow control.
    try {
      for await (const message of this.#stream) yield message as ConverseResponse;
    } catch (error) {
      throw told(error as Error);
    }
  }

  close(): void {
    this.#stream.end();
  }
}
