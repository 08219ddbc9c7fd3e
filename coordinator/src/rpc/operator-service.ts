/** Operator over gRPC: one method each, thin; the deciding is resources/, dispatch/ and identity/'s. */
import type { handleServerStreamingCall, handleUnaryCall, sendUnaryData, ServerWritableStream } from "@grpc/grpc-js";
import {
  ApplyOutcome,
  type AuditRecord,
  type DryRunOnNodesRequest,
  type DryRunOnNodesResponse,
  type FetchEvidenceRequest,
  type FetchEvidenceResponse,
  type FetchLogsRequest,
  type FetchLogsResponse,
  type OperatorServer,
  type ResourceObject,
  WatchEventType,
  type WatchObjectsRequest,
  type WatchObjectsResponse,
  type WatchProgressRequest,
  type WatchProgressResponse,
} from "@drover/proto";
import { matchesSelector } from "@drover/api";
import { Refused, refuse } from "../refusal.ts";
import type { Seen } from "../resources/view.ts";
import { version } from "../version.ts";
import { unfit } from "./fit-requests.ts";
import type { AnyCall, Gate, OperatorPeer } from "./gate.ts";
import type { OperatorCalls } from "./operator-calls.ts";
import { countFrom, isDryRun, kindFrom, selectorFrom, textFrom } from "./operator-requests.ts";
import { grpcErrorOf } from "./status.ts";
import { pump, type StreamParts } from "./streams.ts";

export interface OperatorServiceParts extends StreamParts {
  readonly gate: Gate;
  readonly calls: OperatorCalls;
}

const DEFAULT_LOG_BYTES = 1024 * 1024;
const MAX_LOG_BYTES = 64 * 1024 * 1024;
const DEFAULT_DRY_RUN_NODES = 10;

export function operatorService(parts: OperatorServiceParts): OperatorServer {
  const { gate, calls } = parts;

  function unary<Request, Response>(
    method: string,
    answer: (request: Request, peer: OperatorPeer) => Promise<Response>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      void respond(callback, async () => answer(call.request, await admitted(gate, call, method)));
    };
  }

  async function respond<Response>(callback: sendUnaryData<Response>, answer: () => Promise<Response>): Promise<void> {
    let response: Response;
    try {
      response = await answer();
    } catch (error) {
      callback(grpcErrorOf(error, parts.log));
      return;
    }
    callback(null, response);
  }

  function streaming<Request, Response>(
    method: string,
    responses: (request: Request, signal: AbortSignal, peer: OperatorPeer) => AsyncIterable<Response>,
  ): handleServerStreamingCall<Request, Response> {
    return (call: ServerWritableStream<Request, Response>) => {
      void pump(parts, call, async () => {
        const peer = await admitted(gate, call, method);
        return { subject: `operator:${peer.name}`, responses: (signal) => responses(call.request, signal, peer) };
      });
    };
  }

  return {
    whoAmI: unary("whoAmI", async (_request, { name, role }) => ({ name, role, coordinatorVersion: version })),
    getCoordinatorStatus: unary("getCoordinatorStatus", async () => ({ ...calls.status(), coordinatorVersion: version })),
    getObject: unary("getObject", async (request) => {
      const kind = kindFrom(request.kind);
      const seen = calls.view.see(kind, textFrom("name", request.name, true));
      if (seen === undefined) throw new Refused(refuse("NotFound", `there is no ${kind} ${JSON.stringify(request.name)}`));
      return { object: wire(seen) };
    }),
    listObjects: unary("listObjects", async (request) => {
      const objects = calls.view.list(kindFrom(request.kind), selectorFrom(request.labelSelector));
      return { objects: objects.map(wire), revision: calls.view.revision };
    }),
    watchObjects: streaming<WatchObjectsRequest, WatchObjectsResponse>("watchObjects", async function* (request, signal) {
      const { labelSelector, fromRevision } = request;
      const kind = kindFrom(request.kind);
      const name = textFrom("name", request.name, false);
      const watched = { kind, name, fromRevision, selector: selectorFrom(labelSelector) };
      for await (const event of calls.watch(watched, signal)) {
        if (event.type === "bookmark")
          yield { type: WatchEventType.WATCH_EVENT_TYPE_BOOKMARK, object: undefined, revision: event.revision };
        else yield { type: EVENT_TYPES[event.type], object: wireObject(event.object, event.resourceVersion), revision: event.revision };
      }
    }),
    applyObject: unary("applyObject", async (request, peer) => {
      const expectedResourceVersion = request.expectedResourceVersion;
      const applied = await calls.resources.apply(
        { json: request.json, expectedResourceVersion, actor: actorOf(peer) },
        isDryRun(request.dryRun),
      );
      if (!applied.ok) throw new Refused(applied);
      return {
        outcome: OUTCOMES[applied.outcome],
        object: wireObject(applied.object, applied.resourceVersion),
        rollouts: [...applied.rollouts],
        affectedNodes: applied.affectedNodes,
        warnings: [...applied.warnings],
      };
    }),
    deleteObject: unary("deleteObject", async (request, peer) => {
      const { expectedResourceVersion } = request;
      const kind = kindFrom(request.kind);
      const name = textFrom("name", request.name, true);
      const removed = await calls.resources.remove({ kind, name, expectedResourceVersion, actor: actorOf(peer) }, isDryRun(request.dryRun));
      if (!removed.ok) throw new Refused(removed);
      return { object: wire(removed.seen) };
    }),
    dryRunOnNodes: streaming<DryRunOnNodesRequest, DryRunOnNodesResponse>("dryRunOnNodes", (request, signal) =>
      calls.dryRunOnNodes(request.manifests, countFrom("max_nodes", request.maxNodes, DEFAULT_DRY_RUN_NODES, 1000), signal),
    ),
    createJoinToken: unary("createJoinToken", async (request, peer) => calls.createJoinToken(request, actorOf(peer))),
    revokeNode: unary("revokeNode", async (request, peer) => {
      const node = textFrom("node", request.node, true);
      return { nodeId: await calls.revokeNode(node, actorOf(peer), textFrom("reason", request.reason, false)) };
    }),
    adoptCluster: unary("adoptCluster", async (request, peer) => {
      const { seen, outcome, warnings } = await calls.adoptCluster(request, actorOf(peer));
      return { object: wire(seen), outcome: OUTCOMES[outcome], warnings: [...warnings] };
    }),
    rejoinNode: unary("rejoinNode", async (request, peer) => calls.rejoinNode(textFrom("node", request.node, true), actorOf(peer))),
    controlRollout: unary("controlRollout", async (request, peer) => {
      const { object, started } = await calls.rollouts.control(request, actorOf(peer));
      return { object: wire(object), started };
    }),
    approveRollout: unary("approveRollout", async (request, peer) => ({
      object: wire(await calls.rollouts.approve(request, actorOf(peer))),
    })),
    planRollout: unary("planRollout", async (request) => ({ forecasts: [...calls.rollouts.forecast(request)] })),
    maintainNode: unary("maintainNode", async (request, peer) => ({ nodeId: await calls.maintenance.maintain(request, actorOf(peer)) })),
    createRepairs: unary("createRepairs", async (request, peer) => {
      const created = await calls.repairs.create(request, isDryRun(request.dryRun), actorOf(peer));
      return { objects: created.map(wire) };
    }),
    cancelRepair: unary("cancelRepair", async (request, peer) => {
      return { object: wire(await calls.repairs.cancel(textFrom("name", request.name, true), actorOf(peer))) };
    }),
    fetchEvidence: streaming<FetchEvidenceRequest, FetchEvidenceResponse>("fetchEvidence", async function* (request, signal, peer) {
      const node = calls.nodeIdOf(textFrom("node", request.node, true));
      for await (const chunk of calls.repairs.evidence(node, textFrom("evidence", request.evidence, false), actorOf(peer), signal)) {
        yield { chunk };
      }
    }),
    fetchLogs: streaming<FetchLogsRequest, FetchLogsResponse>("fetchLogs", async function* (request, signal) {
      const nodeId = calls.nodeIdOf(textFrom("node", request.node, true));
      const step = textFrom("step", request.step, false);
      const maxBytes = countFrom("max_bytes", request.maxBytes, DEFAULT_LOG_BYTES, MAX_LOG_BYTES);
      for await (const chunk of calls.sessions.collectLogs(nodeId, { step, maxBytes }, signal)) yield { chunk };
    }),
    watchProgress: streaming<WatchProgressRequest, WatchProgressResponse>("watchProgress", async function* (request, signal) {
      const selector = selectorFrom(request.labelSelector);
      for await (const { nodeId, progress, atMs } of calls.sessions.watchProgress(signal)) {
        const seen = calls.view.see("Node", nodeId);
        if (seen === undefined || (selector !== undefined && !matchesSelector(selector, seen.labels))) continue;
        yield { nodeId, nodeName: seen.object.metadata.name, progress, atMs };
      }
    }),
    listAudit: unary("listAudit", async (request) => {
      const limit = countFrom("limit", request.limit, 100, 10_000);
      const entries = await calls.listAudit(limit, textFrom("actor", request.actor, false), textFrom("target", request.target, false));
      return { records: entries.map((entry): AuditRecord => ({ ...entry })) };
    }),
  };
}

async function admitted(gate: Gate, call: AnyCall & { readonly request: unknown }, method: string): Promise<OperatorPeer> {
  const peer = await gate.operator(call, method);
  const refusal = unfit(call.request);
  if (refusal !== undefined) throw new Refused(refusal);
  return peer;
}

const OUTCOMES = {
  created: ApplyOutcome.APPLY_OUTCOME_CREATED,
  configured: ApplyOutcome.APPLY_OUTCOME_CONFIGURED,
  unchanged: ApplyOutcome.APPLY_OUTCOME_UNCHANGED,
} as const;

const EVENT_TYPES = {
  added: WatchEventType.WATCH_EVENT_TYPE_ADDED,
  modified: WatchEventType.WATCH_EVENT_TYPE_MODIFIED,
  deleted: WatchEventType.WATCH_EVENT_TYPE_DELETED,
} as const;

function actorOf(peer: OperatorPeer): string {
  return `operator:${peer.name}`;
}

function wire({ object, revision }: Seen): ResourceObject {
  return wireObject(object, revision);
}

function wireObject(object: Seen["object"], resourceVersion: number): ResourceObject {
  return { kind: object.kind, name: object.metadata.name, json: Buffer.from(JSON.stringify(object)), resourceVersion };
}
