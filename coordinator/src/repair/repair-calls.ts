/** What operators ask of repairs and their evidence. */
import type { CreateRepairsRequest } from "@drover/proto";
import type { Seen } from "../resources/view.ts";

export interface RepairCalls {
  /** One Repair for each node, all in as many commits as needed, or none when one of them is refused. @throws Refused */
  create(request: CreateRepairsRequest, isDryRun: boolean, actor: string): Promise<readonly Seen[]>;
  /** No further rung begins. @throws Refused */
  cancel(name: string, actor: string): Promise<Seen>;
  /** A gzipped tar archive. @param evidence empty: gathered now. @throws Refused Unreachable, TimedOut, NotFound */
  evidence(nodeId: string, evidence: string, actor: string, signal: AbortSignal): AsyncIterable<Buffer>;
}
