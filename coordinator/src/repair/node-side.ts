/** What a repair asks of its node: evidence and rungs, each once for each request, however often a coordinator begins anew. */
import type { Rung } from "@drover/api";
import { type Clock, DeadlineExceeded, withDeadline } from "@drover/lifecycle";
import { RunRung, type RungResult } from "@drover/proto";
import { Refused } from "../refusal.ts";
import { type EvidenceStore, MAX_BUNDLE_BYTES } from "./evidence-store.ts";

const GATHER_DEADLINE_MS = 120_000;

/** Of dispatch/sessions. */
export interface NodeRequests {
  /** @throws Refused Unreachable, TimedOut */
  runRung(nodeId: string, request: RunRung, signal: AbortSignal): Promise<RungResult>;
  /** A gzipped tar archive in chunks. @throws Refused Unreachable, TimedOut, NotFound */
  collectEvidence(
    nodeId: string,
    wanted: { readonly requestId: string; readonly maxBytes: number },
    signal: AbortSignal,
  ): AsyncIterable<Buffer>;
}

export interface NodeSideParts {
  readonly requests: NodeRequests;
  readonly evidence: EvidenceStore;
  /** What is known of a node that does not give its evidence itself. */
  readonly known: (nodeId: string, why: string) => Buffer;
  readonly clock: Clock;
}

/** Gathers the bundle and stores it under the id, from the node or, where it cannot be had there, from what is known here. */
export async function gatherEvidence(parts: NodeSideParts, nodeId: string, id: string, signal: AbortSignal): Promise<void> {
  let bundle: Buffer;
  try {
    bundle = await withDeadline(parts.clock, "gathering evidence", GATHER_DEADLINE_MS, signal, (ended) =>
      fetchBundle(parts.requests, nodeId, id, ended),
    );
  } catch (error) {
    if (signal.aborted) throw error;
    bundle = parts.known(nodeId, whyText(error));
  }
  await parts.evidence.put(id, bundle);
}

async function fetchBundle(requests: NodeRequests, nodeId: string, requestId: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of requests.collectEvidence(nodeId, { requestId, maxBytes: MAX_BUNDLE_BYTES }, signal)) {
    bytes += chunk.length;
    if (bytes > MAX_BUNDLE_BYTES) throw new RangeError(`the node sent more than ${MAX_BUNDLE_BYTES} bytes of evidence`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export type RungAnswer =
  | { readonly is: "done"; readonly message: string }
  /** It was not done, and will not be by asking again. */
  | { readonly is: "failed"; readonly message: string }
  /** Nobody knows whether it was done: to be asked again with the same request. */
  | { readonly is: "unknown"; readonly wasReached: boolean; readonly message: string };

export async function askRung(
  requests: NodeRequests,
  asked: { readonly nodeId: string; readonly rung: Rung; readonly requestId: string; readonly units: readonly string[] },
  signal: AbortSignal,
): Promise<RungAnswer> {
  const { nodeId, rung, requestId, units } = asked;
  try {
    const { done, reason, message } = await requests.runRung(nodeId, RunRung.create({ requestId, rung: bodyOf(rung, units) }), signal);
    if (done) return { is: "done", message };
    return { is: "failed", message: message === "" ? reason : `${reason}: ${message}` };
  } catch (error) {
    if (!(error instanceof Refused) && !(error instanceof DeadlineExceeded)) throw error;
    const reason = error instanceof Refused ? error.refusal.reason : "TimedOut";
    if (reason === "Unreachable") return { is: "unknown", wasReached: false, message: error.message };
    if (reason === "TimedOut" || reason === "Stopping") return { is: "unknown", wasReached: true, message: error.message };
    return { is: "failed", message: `${reason}: ${error.message}` };
  }
}

function bodyOf(rung: Rung, units: readonly string[]): RunRung["rung"] {
  switch (rung) {
    case "RestartUnits":
      return { $case: "restartUnits", value: { units: [...units] } };
    case "Repull":
      return { $case: "repull", value: {} };
    case "Reboot":
      return { $case: "reboot", value: {} };
    case "Reapply":
    case "Rejoin":
    case "HandOver":
      throw new RangeError(`${rung} is nothing that a node is asked for`);
  }
}

function whyText(error: unknown): string {
  return error instanceof Refused ? `${error.refusal.reason}: ${error.message}` : (error as Error).message;
}
