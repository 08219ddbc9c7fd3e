/** The probes of a plan, asked all at once and told as conditions. After a change what does not answer yet is given some time. */
import { type Clock, sleep } from "@drover/lifecycle";
import type { Probe } from "@drover/proto";
import type { ProbeAnswer, Probes } from "../host/probe-port.ts";
import type { StepCondition } from "../steps/step.ts";

/** Whose conditions they are in the node's book. */
export const PROBES = "probes";
/** What was restarted by the change has this long to answer before it is told as failed; a later scan tells when it does. */
export const PATIENCE_MS = 30_000;
const PAUSE_MS = 2_000;

export interface Asking {
  readonly probes: Probes;
  readonly clock: Clock;
  /** How long those that fail are asked again; 0: once. */
  readonly patienceMs: number;
  /** Nobody waits for the answers any more; left out: somebody does. */
  readonly isOver?: () => boolean;
  readonly signal: AbortSignal;
}

export async function askProbes(wanted: readonly Probe[], asking: Asking): Promise<readonly StepCondition[]> {
  const { clock, signal, patienceMs } = asking;
  const untilMs = clock.monotonicMs() + patienceMs;
  const answers = new Map<string, ProbeAnswer>();
  let open = wanted;
  for (;;) {
    await Promise.all(open.map(async (probe) => answers.set(probe.name, await ask(probe, asking))));
    open = wanted.filter(({ name }) => answers.get(name)?.isPassed === false);
    if (open.length === 0 || asking.isOver?.() === true || clock.monotonicMs() + PAUSE_MS > untilMs) break;
    await sleep(clock, PAUSE_MS, signal);
  }
  return wanted.map(({ name }) => conditionOf(name, answers.get(name)!));
}

function ask({ target, timeoutMs }: Probe, { probes, signal }: Asking): Promise<ProbeAnswer> {
  switch (target?.$case) {
    case "httpUrl":
      return probes.http(target.value, timeoutMs, signal);
    case "tcpPort":
      return probes.tcp(target.value, timeoutMs, signal);
    case undefined:
      // A plan with such a probe is not accepted.
      return Promise.resolve({ isPassed: false, reason: "NoTarget", message: "the probe names nothing to ask" });
  }
}

function conditionOf(name: string, answer: ProbeAnswer): StepCondition {
  const type = `Probe-${name}`;
  if (answer.isPassed) return { type, status: "True", reason: "Answered", message: "" };
  return { type, status: "False", reason: answer.reason, message: answer.message };
}
