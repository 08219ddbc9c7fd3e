/** `drover-agent doctor`: real parts for examine, and the exit code: 1 when a check failed. */
import { systemClock } from "@drover/lifecycle";
import { ContainerdClient } from "../host/containerd/containerd-client.ts";
import { IdentityStore } from "../session/identity.ts";
import { connectToNats } from "../session/nats-bus.ts";
import { buildDateMs } from "../version.ts";
import { examine, formatFindings } from "./doctor.ts";
import { loadConfig, USAGE } from "./load-config.ts";
import { askLocally } from "./local-socket.ts";
import type { ConfigOption, Output } from "./program.ts";
import { ReadOnlyState } from "./read-only-state.ts";

export async function doctor(options: ConfigOption & { readonly output: string }, output: Output): Promise<number> {
  const config = await loadConfig(options.config, output);
  if (config === undefined) return USAGE;
  const containerd = new ContainerdClient({ socketPath: config.containerdAddress });
  const store = new IdentityStore(new ReadOnlyState(config.stateDir));
  try {
    const findings = await examine({
      clock: systemClock,
      config,
      buildDateMs,
      containerd,
      loadIdentity: () => store.load(),
      tryNats: async (identity, signal) => {
        const connection = await connectToNats(identity, signal);
        await connection.close();
      },
      isAgentRunning: async () => (await askLocally(systemClock, config.stateDir, "status")) !== undefined,
    });
    output.out(options.output === "json" ? `${JSON.stringify(findings, null, 2)}\n` : formatFindings(findings));
    return findings.some(({ verdict }) => verdict === "failed") ? 1 : 0;
  } finally {
    containerd.close();
  }
}
