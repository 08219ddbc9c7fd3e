/** `drover-agent status`: asks the running agent; without one, says what the state directory knows. */
import { systemClock } from "@drover/lifecycle";
import type { AgentStatus } from "../agent.ts";
import { IdentityStore } from "../session/identity.ts";
import { askLocally } from "./local-socket.ts";
import { loadConfig, USAGE } from "./load-config.ts";
import type { ConfigOption, Output } from "./program.ts";
import { ReadOnlyState } from "./read-only-state.ts";

/** What the running agent answers to "status"; the rest comes once it is enrolled. */
export interface AgentAnswer extends Partial<AgentStatus> {
  readonly agentVersion: string;
  readonly certificateUntil?: string;
}

type Known = Partial<AgentAnswer> & { readonly isRunning: boolean };

export async function status(options: ConfigOption & { readonly output: string }, output: Output): Promise<number> {
  const config = await loadConfig(options.config, output);
  if (config === undefined) return USAGE;
  const answer = (await askLocally(systemClock, config.stateDir, "status")) as AgentAnswer | undefined;
  const known: Known =
    answer === undefined ? { isRunning: false, ...(await identityOnDisk(config.stateDir)) } : { isRunning: true, ...answer };
  output.out(options.output === "json" ? `${JSON.stringify(known, null, 2)}\n` : formatStatus(known));
  if (!known.isRunning) output.err(`no agent answers on ${config.stateDir}; next: systemctl status drover-agent, or drover-agent doctor\n`);
  return known.isRunning ? 0 : 1;
}

async function identityOnDisk(stateDir: string): Promise<Partial<AgentAnswer>> {
  const identity = await new IdentityStore(new ReadOnlyState(stateDir)).load();
  return identity === undefined ? {} : { nodeId: identity.nodeId, certificateUntil: new Date(identity.notAfterMs).toISOString() };
}

function formatStatus(known: Known): string {
  const rows: [string, string][] = [
    ["agent", known.isRunning ? `running, ${known.agentVersion ?? ""}` : "not running"],
    ["node", known.nodeId ?? "not enrolled"],
    ["certificate", known.certificateUntil === undefined ? "none" : `until ${known.certificateUntil}`],
  ];
  if (known.isRunning && known.nodeId !== undefined) {
    rows.push(["NATS", known.isBusConnected === true ? "connected" : "not connected"]);
    rows.push([
      "generation",
      `accepted ${known.accepted?.generation ?? 0}, enforced ${known.enforced?.generation ?? 0}${known.isApplying === true ? ", applying" : ""}`,
    ]);
  }
  for (const { type, status, reason, message } of known.conditions ?? []) {
    rows.push([type, [status, reason, message].filter((part) => part !== "").join("  ")]);
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")}\n`;
}
