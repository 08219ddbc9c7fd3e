/**
 * The engine without a coordinator: for `diff` and `apply` on this machine or on an image. Its journal is thrown away,
 * so that nothing here counts as a generation; what steps remember (originals to put back) is kept where `state` keeps it.
 */
import { type Clock, silentLog } from "@drover/lifecycle";
import type { Event } from "@drover/proto";
import type { Host } from "../host/host.ts";
import type { StateDirectory } from "../ports.ts";
import { Engine } from "../reconcile/engine.ts";
import { defaultStepDeadlineMs } from "../reconcile/engine-parts.ts";
import { noFailpoint } from "../reconcile/failpoints.ts";
import { Journal } from "../reconcile/journal.ts";
import type { PlanEnding } from "../reconcile/journal-state.ts";
import { MemoryStateDirectory } from "../state/index.ts";
import { steps } from "../steps/index.ts";
import { noCredentials } from "../steps/step.ts";

/** Whom a plan is for where no node is enrolled. */
export const NOBODY = "aaaaaaaaaa";

export interface OfflineParts {
  readonly host: Host;
  readonly state: StateDirectory;
  readonly nodeId: string;
  readonly clock: Clock;
  /** One line of what happens, for whoever watches. */
  readonly print: (line: string) => void;
}

export async function openOfflineEngine({ host, state, nodeId, clock, print }: OfflineParts): Promise<Engine> {
  const tell = (events: readonly Event[]): void => events.forEach((event) => printResult(event, print));
  return Engine.open({
    nodeId,
    host,
    steps,
    state,
    journal: await Journal.open(new MemoryStateDirectory()),
    reporter: { record: async (events) => tell(events), note: tell },
    output: {
      begin: (step) => ({
        say: (line) => print(`${step}: ${line}`),
        finish: async () => ({ tail: "", digest: Buffer.alloc(0), heldBytes: 0 }),
      }),
    },
    showProgress: () => undefined,
    credentials: noCredentials,
    isOffline: true,
    clock,
    log: silentLog,
    failpoint: noFailpoint,
    stepDeadlineMs: defaultStepDeadlineMs,
  });
}

function printResult({ body }: Event, print: (line: string) => void): void {
  if (body?.$case !== "stepResult") return;
  const { step, changes, reason, message } = body.value;
  if (reason !== "") print(`${step}: ${reason}: ${message}`);
  else print(`${step}: ${changes.length === 0 ? "unchanged" : `${changes.length} changed`}`);
}

/** Accepts and applies; the ending says how it went. */
export async function applyOffline(
  engine: Engine,
  planBytes: Uint8Array,
  signal: AbortSignal,
): Promise<PlanEnding | { readonly outcome: "refused"; readonly reason: string; readonly message: string }> {
  const acceptance = await engine.accept(planBytes);
  if (acceptance.outcome === "refused") return { outcome: "refused", reason: acceptance.reason, message: acceptance.message };
  await engine.apply(signal);
  return engine.journal.accepted?.ending ?? { outcome: "refused", reason: "Stopped", message: "stopped before the end; run it again" };
}
