/** The node's side of the bus, as far as tests and the simulation speak it; the agent's own port has the same shape. */
import type { Budget, ToNode } from "@drover/proto";

export interface AgentPort {
  readonly isConnected: boolean;
  publishHeartbeat(beat: Uint8Array): void;
  /** @returns false when nothing was taken */
  publishReport(batch: Uint8Array): boolean;
  /** One listener each; set before run. */
  onToNode(listen: (message: ToNode) => void): void;
  onBudget(listen: (budget: Budget) => void): void;
  onConnected(listen: () => void): void;
  run(signal: AbortSignal): Promise<void>;
}
