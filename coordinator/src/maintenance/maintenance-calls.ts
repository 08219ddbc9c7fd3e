/** What operators ask of one node's scheduling: cordon, drain, uncordon. */
import type { MaintainNodeRequest } from "@drover/proto";

export interface MaintenanceCalls {
  /** Resolves when it is committed, not when the node is drained: condition Maintenance of the Node says how far it is. @returns the node's id. @throws Refused */
  maintain(request: MaintainNodeRequest, actor: string): Promise<string>;
}
