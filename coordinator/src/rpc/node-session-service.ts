/** NodeSession over gRPC: who speaks is what the certificate says; what is said goes to dispatch/sessions.ts. */
import { type ConverseRequest, type ConverseResponse, type NodeSessionServer, NodeSessionService } from "@drover/proto";
import { Refused } from "../refusal.ts";
import { fitRequests, unfit } from "./fit-requests.ts";
import type { Gate, NodePeer } from "./gate.ts";
import { pump, type StreamParts } from "./streams.ts";

export const NODE_MESSAGE_LIMIT_BYTES = 64 * 1024;

export interface NodeSessionParts extends StreamParts {
  readonly gate: Gate;
  readonly converse: (peer: NodePeer, inbound: AsyncIterable<ConverseRequest>, signal: AbortSignal) => AsyncIterable<ConverseResponse>;
}

/** NodeSession's definition with the size of what nodes may send. */
export const limitedNodeSessionService = fitRequests(NodeSessionService, NODE_MESSAGE_LIMIT_BYTES);

export function nodeSessionService(parts: NodeSessionParts): NodeSessionServer {
  const { gate, converse } = parts;
  return {
    converse: (call) => {
      void pump(parts, call, async () => {
        const peer = gate.node(call);
        const inbound = admitted(call.iterator({ destroyOnReturn: false }) as AsyncIterable<ConverseRequest>, peer.nodeId, gate);
        return { subject: `node:${peer.nodeId}`, responses: (signal) => converse(peer, inbound, signal) };
      });
    },
  };
}

async function* admitted(inbound: AsyncIterable<ConverseRequest>, nodeId: string, gate: Gate): AsyncGenerator<ConverseRequest, void> {
  for await (const request of inbound) {
    const refusal = unfit(request);
    if (refusal !== undefined) throw new Refused(refusal);
    gate.nodeMessage(nodeId);
    yield request;
  }
}
