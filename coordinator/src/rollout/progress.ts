/** How a rollout stands, in one phase and one sentence. Pure. */
import type { Scene } from "./blocks.ts";
import type { Stop } from "./failures.ts";
import type { Decision, Progress } from "./model.ts";

export interface Standings {
  readonly scene: Scene;
  readonly stop: Stop | undefined;
  readonly total: number;
  /** Updated and soaked. */
  readonly done: number;
  readonly isBegun: boolean;
  readonly decisions: readonly Decision[];
  readonly waiting: Readonly<Record<string, number>>;
}

export function summaryOf(standings: Standings): Pick<Progress, "phase" | "reason" | "message"> {
  const { scene, stop, total, done, isBegun, decisions, waiting } = standings;
  const { input, waves, current } = scene;
  if (total === 0) return { phase: "Pending", reason: "NoNodes", message: "the set selects no node yet" };
  const isMoving = decisions.some(({ type }) => type === "move" || type === "drain");
  if (done === total && !isMoving) return { phase: "Complete", reason: "Complete", message: `all ${total} nodes enforce the revision` };
  if (input.isAborted) return { phase: "Aborted", reason: "Aborted", message: "nobody else begins; who is in change comes to an end" };
  if (stop !== undefined) {
    const message = `${stop.message}; correct the profile and apply it, or apply again to retry`;
    return { phase: "Stopped", reason: stop.reason, message };
  }
  if (input.isPaused) return { phase: "Paused", reason: "Paused", message: "nobody else begins; who is in change comes to an end" };
  if (isMoving || UNDER_WAY.some((reason) => (waiting[reason] ?? 0) > 0)) {
    return { phase: "Progressing", reason: "NodesInChange", message: "nodes are in change" };
  }
  const block = scene.setBlock;
  if (block !== undefined) return { phase: isBegun ? "Progressing" : "Pending", reason: block.reason, message: block.message };
  const wave = waves[current]!;
  if (wave.phase === "AwaitingApproval") {
    return { phase: "Progressing", reason: "AwaitingApproval", message: `${wave.name} waits for an approver` };
  }
  if (wave.phase === "Gated") {
    const gate = input.waveGates.get(current + 1);
    return { phase: "Progressing", reason: "Gated", message: `${wave.name} is done; the webhook ${gate?.message ?? "is asked"}` };
  }
  const first = decisions.find((decision) => decision.type === "wait");
  return { phase: "Progressing", reason: "Waiting", message: first === undefined ? "waiting" : `${first.name}: ${first.message}` };
}

const UNDER_WAY = ["InChange", "Soaking", "GatePending", "Draining"];
