/** Between async iterables and grpc-js' calls: backpressure, cancellation, and one end for each stream. */
import type { ServerDuplexStream, ServerWritableStream } from "@grpc/grpc-js";
import { type Clock, type Log, withDeadline } from "@drover/lifecycle";
import { Refused } from "../refusal.ts";
import type { LiveCalls } from "./live-calls.ts";
import { grpcErrorOf } from "./status.ts";

/** A reader that takes nothing for this long is cut off. */
const STALLED_MS = 60_000;

type Writable<Response> = ServerWritableStream<unknown, Response> | ServerDuplexStream<unknown, Response>;

export interface StreamParts {
  readonly live: LiveCalls;
  readonly clock: Clock;
  readonly log: Log;
}

/** Writes what the iterable gives until it ends, fails, the peer leaves or somebody cuts it. Never rejects. */
export async function pump<Response>(
  parts: StreamParts,
  call: Writable<Response>,
  open: () => Promise<{ readonly subject: string; readonly responses: (signal: AbortSignal) => AsyncIterable<Response> }>,
): Promise<void> {
  const { live, clock, log } = parts;
  let close: () => void = () => undefined;
  try {
    const { subject, responses } = await open();
    const opened = live.open(subject);
    const { controller } = opened;
    const onGone = (): void => controller.abort(new Error("the peer has left"));
    call.on("cancelled", onGone);
    call.on("close", onGone);
    close = opened.close;
    if (call.cancelled) onGone();
    for await (const response of responses(controller.signal)) {
      if (controller.signal.aborted) break;
      if (!call.write(response)) {
        await withDeadline(
          clock,
          "a reader",
          STALLED_MS,
          controller.signal,
          () => new Promise<void>((resolve) => call.once("drain", resolve)),
        );
      }
    }
    if (controller.signal.reason instanceof Refused) throw controller.signal.reason;
    call.end();
  } catch (error) {
    if (!call.cancelled) call.emit("error", grpcErrorOf(error, log));
  } finally {
    close();
  }
}
