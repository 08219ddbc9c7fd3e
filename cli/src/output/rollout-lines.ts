/** A Rollout's status as lines for people: how far, which wave, when it may end, what failed alike, and why who waits. Pure. */
import type { Rollout } from "@drover/api";

type Status = NonNullable<Rollout["status"]>;

/** The one reason of those listed that is no waiting. */
const IN_CHANGE = "InChange";

export interface RolloutLines {
  readonly head: string;
  /** Waves, impact, end, failures, reasons to wait. */
  readonly details: readonly string[];
}

export function rolloutLines({ metadata, spec, status }: Rollout): RolloutLines {
  const { name } = metadata;
  if (status === undefined) return { head: `rollout/${name} has not been looked at yet`, details: [] };
  // While it goes on, who waits for what says more than the summary of it.
  const message = status.message === "" || status.phase === "Progressing" ? "" : ` (${status.message})`;
  const end = status.estimatedEnd === undefined || status.phase !== "Progressing" ? "" : `, done at about ${status.estimatedEnd}`;
  const { phase, updated, total, inChange, failed } = status;
  return {
    head: `rollout/${name} ${phase}: ${updated} of ${total} updated, ${inChange} in change, ${failed} failed${end}${message}`,
    details: [
      ...waveLines(name, status),
      ...confirmLines(name, status),
      ...budgetLines(spec, status),
      ...fingerprintLines(status),
      ...waitLines(status),
    ],
  };
}

/** One wave alone is what the head says already, unless somebody has to approve it. */
function waveLines(name: string, { waves = [] }: Status): string[] {
  if (waves.length < 2 && waves[0]?.phase !== "AwaitingApproval") return [];
  const lines = [`  waves: ${waves.map((wave) => `${wave.name} ${wave.updated}/${wave.nodes} ${wave.phase}`).join(", ")}`];
  const waiting = waves.findIndex(({ phase }) => phase === "AwaitingApproval");
  if (waiting >= 0) lines.push(`  to be approved by an approver: drover rollout approve ${name} --wave ${waiting + 1}`);
  return lines;
}

function confirmLines(name: string, { total, waitingCounts }: Status): string[] {
  if ((waitingCounts?.["CountNotConfirmed"] ?? 0) === 0) return [];
  return [`  to be confirmed, as all of them would move at once: drover rollout resume ${name} --nodes ${total}`];
}

function budgetLines({ strategy }: Rollout["spec"], { impact, phase }: Status): string[] {
  if (phase === "Superseded") return [];
  const budgets = (strategy.budgets ?? []).map(({ topologyKey, maxUnavailable }) => `${maxUnavailable} for each ${topologyKey}`);
  const limits = [`${strategy.maxUnavailable} at once`, ...budgets];
  if (strategy.exclusive !== undefined) limits.push(`one ${strategy.exclusive} at a time`);
  const worst = (impact?.worst ?? []).map(({ topologyKey, value, nodes, of }) => `${nodes} of ${of} in ${topologyKey}=${value}`);
  const bound = impact === undefined ? "" : `; impact at most ${impact.bound}${worst.length === 0 ? "" : `, ${worst.join(", ")} at once`}`;
  return [`  budget: ${limits.join(", ")}${bound}`];
}

/** Those that no node shows now are what was known before. */
function fingerprintLines({ fingerprints = [] }: Status): string[] {
  return fingerprints
    .filter(({ nodes }) => nodes.length > 0)
    .map(
      ({ step, error, isNew, nodes }) => `  failed alike${isNew ? ", as none did before" : ""}: ${shortList(nodes)} (${step}: ${error})`,
    );
}

/** By reason and message; of reasons that only some nodes are listed with, how many there are. */
function waitLines({ waiting, waitingCounts = {} }: Status): string[] {
  const groups = Map.groupBy(waiting, ({ reason, message }) => `${reason}: ${message}`);
  const listed = new Map<string, number>();
  for (const { reason } of waiting) listed.set(reason, (listed.get(reason) ?? 0) + 1);
  const lines = [...groups.values()].map((alike) => {
    const [{ reason, message } = { reason: "", message: "" }] = alike;
    const nodes = shortList(alike.map(({ node }) => node));
    if (reason === IN_CHANGE) return `  in change: ${nodes} (${message})`;
    return `  waiting: ${nodes} (${message === "" ? reason : `${reason}: ${message}`})`;
  });
  for (const [reason, nodes] of Object.entries(waitingCounts)) {
    const more = nodes - (listed.get(reason) ?? 0);
    if (more > 0) lines.push(`  waiting: ${more} more (${reason})`);
  }
  return lines;
}

export function shortList(names: readonly string[]): string {
  return names.length <= 5 ? names.join(", ") : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
}
