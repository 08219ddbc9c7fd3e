/** `drover sim`: one scenario from start to end, with live progress, and what it came to as a table or JSON. */
import { NODE_SET, objectsOf } from "./seed.ts";
import type { Scenario, ScenarioFault } from "./scenario.ts";
import type { AgentCounts, Selection, Sim, Usage, VerdictChange } from "./sim-port.ts";
import { startSim } from "./start-sim.ts";

export interface ScenarioParts {
  readonly say: (line: string) => void;
  /** A line that the next one replaces. */
  readonly showLive: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface ScenarioOutcome {
  readonly agents: number;
  readonly tier: string;
  readonly heartbeatIntervalMs: number;
  readonly settledMs: number;
  readonly usage: Usage;
  readonly counts: AgentCounts;
  readonly verdicts: Readonly<Record<string, number>>;
  readonly verdictChanges: Readonly<Record<string, number>>;
  readonly reports: { readonly sent: number; readonly acknowledged: number; readonly lost: number; readonly twice: number };
}

const PROGRESS_EVERY_MS = 1_000;

/** Ends with the signal, too: then it tells of what there was until then. @throws when the coordinator does not start, or ends */
export async function runScenario(scenario: Scenario, { say, showLive, signal }: ScenarioParts): Promise<ScenarioOutcome> {
  const { agents, tier } = scenario;
  await using sim = await startSim(
    {
      agents,
      tier,
      seed: scenario.seed,
      heartbeatIntervalMs: scenario.heartbeatInterval,
      start: scenario.start,
      changesPerMinute: scenario.changesPerMinute,
      stepMs: scenario.stepTime,
      pollMs: scenario.poll,
      zones: scenario.zones,
      ...(scenario.racks === undefined ? {} : { racks: scenario.racks }),
      ...(scenario.probePort === undefined ? {} : { probePort: scenario.probePort }),
      imagesPerNode: scenario.imagesPerNode,
      coordinatorConfig: scenario.coordinator,
      say,
    },
    signal,
  );
  const startedMs = performance.now();
  const progress = setInterval(() => showLive(progressOf(sim, agents)), PROGRESS_EVERY_MS);
  const timers: NodeJS.Timeout[] = [];
  try {
    await Promise.race([sim.settled, aborted(signal)]);
    signal.throwIfAborted();
    const settledMs = performance.now() - startedMs;
    say(`all ${agents} agents have beaten; measuring for ${scenario.for / 1_000} s`);
    for (const fault of scenario.faults) timers.push(...scheduled(sim, fault, say));
    if (scenario.rolloutAt !== undefined) timers.push(setTimeout(() => void rollOut(sim, scenario, say), scenario.rolloutAt));
    const usage = await sim.measure(scenario.for);
    const { verdicts } = await sim.observe({ verdicts: true });
    const counts = { ...sim.counts };
    const { heartbeatIntervalMs } = sim;
    const verdictChanges = tallied(sim.verdictChanges);
    const reports = await sim.reconcileReports();
    return { agents, tier, heartbeatIntervalMs, settledMs, usage, counts, verdicts, verdictChanges, reports };
  } finally {
    clearInterval(progress);
    for (const timer of timers) clearTimeout(timer);
    showLive("");
  }
}

/** Text and figures, a line each. */
export function renderOutcome(outcome: ScenarioOutcome): readonly string[] {
  const { agents, tier, usage, counts, reports } = outcome;
  const perSecond = (value: number): string => `${Math.round(value / usage.seconds)}/s`;
  const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
  const cores = (value: number): string => `${value.toFixed(3)} cores`;
  const counted = (values: Readonly<Record<string, number>>): string =>
    Object.entries(values)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${value} ${name}`)
      .join(", ") || "none";
  const late = usage.worstLateMs > 100 ? "; the agents themselves were too slow: take another machine, or fewer" : "";
  const rows: readonly (readonly [string, string])[] = [
    ["agents", `${agents} ${tier}, ${counts.connections} connected, ${counts.silent} silent, ${counts.reconnects} reconnects`],
    ["heartbeats", `each ${outcome.heartbeatIntervalMs / 1_000} s; ${perSecond(usage.beats)} sent, ${perSecond(usage.beatsTaken)} taken`],
    [
      "reports",
      `${perSecond(usage.reportsTaken)} taken; ${reports.sent} sent, ${reports.acknowledged} acknowledged, ${reports.lost} lost, ${reports.twice} twice`,
    ],
    ["coordinator", `${cores(usage.coordinatorCores)}, ${megabytes(usage.coordinatorBytes)}`],
    ["nats-server", `${cores(usage.natsCores)}, ${megabytes(usage.natsBytes)}`],
    ["simulated agents", `${cores(usage.simCores)}, timers at worst ${Math.round(usage.worstLateMs)} ms late${late}`],
    ["sessions", `${counts.sessions} opened, ${counts.sessionsFailed} failed; ${counts.wakes} wake-ups`],
    [
      "plans",
      `${counts.plansAccepted} accepted, ${counts.plansEnforced} enforced, ${counts.plansFailed} failed, ${counts.enforcing} under way`,
    ],
    ["verdicts", `${counted(outcome.verdicts)}; changes: ${counted(outcome.verdictChanges)}`],
    ["window", `${usage.seconds.toFixed(1)} s; settled after ${(outcome.settledMs / 1_000).toFixed(1)} s`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`);
}

function scheduled(sim: Sim, fault: ScenarioFault, say: (line: string) => void): NodeJS.Timeout[] {
  const whom = (): readonly number[] => sim.select(fault.agents ?? { share: fault.share ?? 0 });
  let chosen: readonly number[] = [];
  const begin = (): void => {
    chosen = whom();
    say(`${fault.do}: ${chosen.length} agents`);
    inflict(sim, fault, chosen, true);
  };
  const end = (): void => {
    say(`${fault.do} ends: ${chosen.length} agents`);
    inflict(sim, fault, chosen, false);
  };
  const timers = [setTimeout(begin, fault.at)];
  if (fault.for !== undefined) timers.push(setTimeout(end, fault.at + fault.for));
  return timers;
}

function inflict(sim: Sim, fault: ScenarioFault, agents: Selection, isBegin: boolean): void {
  const by = isBegin ? (fault.by ?? 0) : 0;
  switch (fault.do) {
    case "silence":
      return isBegin ? sim.silence(agents) : sim.revive(agents);
    case "unreachable":
      return void sim.knockable(agents, !isBegin).catch(() => undefined);
    case "lag":
      return sim.lag(agents, by);
    case "skew":
      return sim.skew(agents, by);
    case "slowSteps":
      return sim.slowSteps(agents, by);
    case "duplicate":
      return sim.duplicate(agents);
    case "failSteps": {
      const { kind, reason, message } = fault;
      return sim.failSteps(agents, isBegin ? { ...(kind === undefined ? {} : { kind }), reason, message } : undefined);
    }
  }
}

async function rollOut(sim: Sim, { probePort, start }: Scenario, say: (line: string) => void): Promise<void> {
  try {
    const probe = probePort === undefined ? {} : { probePort };
    const started = await sim.apply(start === "converged" ? objectsOf(probe, "65536").slice(0, 1) : objectsOf(probe));
    say(`rolling out to set ${NODE_SET}: ${started.join(", ")}`);
  } catch (error) {
    say(`not rolled out: ${(error as Error).message}`);
  }
}

function progressOf({ counts }: Sim, agents: number): string {
  const { connections, beats, reportsAcknowledged, sessions, enforcing, silent } = counts;
  return `${connections} of ${agents} connected, ${silent} silent, ${beats} beats, ${reportsAcknowledged} reports acknowledged, ${sessions} sessions, ${enforcing} enforcing`;
}

function tallied(changes: readonly VerdictChange[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verdict, reason } of changes) counts[`${verdict}/${reason}`] = (counts[`${verdict}/${reason}`] ?? 0) + 1;
  return counts;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
