/** `drover-agent support`: the evidence that a repair gathers, written to a file on the machine itself. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { stopSignal, systemClock } from "@drover/lifecycle";
import { gatherEvidence } from "../evidence/gather-evidence.ts";
import { IdentityStore } from "../session/identity.ts";
import { agentVersion } from "../version.ts";
import { loadConfig, USAGE } from "./load-config.ts";
import { askLocally } from "./local-socket.ts";
import { machineAt } from "./machine.ts";
import { NOBODY, openOfflineEngine } from "./offline-engine.ts";
import type { ConfigOption, Output } from "./program.ts";
import { ReadOnlyState } from "./read-only-state.ts";

const MAX_BYTES = 8 * 2 ** 20;

/** What the running agent alone knows is asked of it, and named as missing when it does not answer. */
export async function support(options: ConfigOption & { readonly out?: string }, output: Output): Promise<number> {
  const config = await loadConfig(options.config, output);
  if (config === undefined) return USAGE;
  const { host } = machineAt(undefined, systemClock, config.containerdAddress);
  try {
    const state = new ReadOnlyState(config.stateDir);
    const nodeId = (await new IdentityStore(state).load())?.nodeId;
    const status = await askLocally(systemClock, config.stateDir, "status");
    const enforced = await askLocally(systemClock, config.stateDir, "enforced");
    const engine = await openOfflineEngine({ host, state, nodeId: nodeId ?? NOBODY, clock: systemClock, print: () => undefined });
    const source = {
      host,
      clock: systemClock,
      about: { nodeId, agentVersion, status: status ?? "no agent answers" },
      conditions: engine.conditions,
      journal: undefined,
      enforcedPlan: typeof enforced === "string" ? Buffer.from(enforced, "base64") : undefined,
      dryRun: (plan: Uint8Array, signal: AbortSignal) => engine.dryRun(plan, signal),
      readOutput: () => undefined,
    };
    const bundle = await gatherEvidence(source, MAX_BYTES, stopSignal());
    const stamp = new Date(systemClock.now()).toISOString().replace(/[-:]|\.\d+/g, "");
    const file = resolve(options.out ?? `drover-support-${stamp}.tar.gz`);
    await writeFile(file, bundle, { mode: 0o600, flag: "wx" });
    output.out(`${file}\n`);
    return 0;
  } catch (error) {
    output.err(
      `no archive was written: ${error instanceof Error ? error.message : String(error)}; next: --out with the name of a new file\n`,
    );
    return 1;
  } finally {
    host.containerd.close();
  }
}
