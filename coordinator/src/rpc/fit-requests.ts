/**
 * Requests that are too large or no protobuf, told apart before they are decoded. grpc-js knows one size limit per server, and operators may send
 * more than nodes; and it answers Internal to what does not decode, where the fault is the caller's.
 */
import type { ServiceDefinition } from "@grpc/grpc-js";
import { type Refusal, refuse } from "../refusal.ts";

class UnfitRequest {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    this.refusal = refusal;
  }
}

/** Why this request was not decoded; undefined: it was. */
export function unfit(request: unknown): Refusal | undefined {
  return request instanceof UnfitRequest ? request.refusal : undefined;
}

/** The same service, whose unfit requests arrive as what `unfit` knows. */
export function fitRequests<Service extends ServiceDefinition>(service: Service, maxBytes: number): Service {
  const checked = Object.entries(service).map(([name, method]) => [
    name,
    {
      ...method,
      requestDeserialize: (bytes: Buffer): unknown => {
        if (bytes.length > maxBytes) return new UnfitRequest(refuse("MessageTooLarge", `a message here is at most ${maxBytes} bytes`));
        try {
          return method.requestDeserialize(bytes);
        } catch (error) {
          return new UnfitRequest(refuse("InvalidRequest", `the message does not decode: ${(error as Error).message}`));
        }
      },
    },
  ]);
  return Object.fromEntries(checked) as Service;
}
