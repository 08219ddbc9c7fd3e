/** `drover-agent doctor`: looks at everything the agent needs, changes nothing, and says what to do about what is wrong. */
import { randomBytes } from "node:crypto";
import { open, stat, statfs, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { type Clock, withDeadline } from "@drover/lifecycle";
import type { AgentConfig } from "../config/agent-config.ts";
import type { Containerd } from "../host/containerd-port.ts";
import type { NodeIdentity } from "../session/identity.ts";
import { findPinnedCa, splitEndpoint } from "../session/pin.ts";

export interface Finding {
  readonly check: string;
  readonly verdict: "ok" | "warning" | "failed";
  readonly message: string;
  /** What to do; empty when there is nothing to do. */
  readonly next: string;
}

export interface DoctorParts {
  readonly clock: Clock;
  readonly config: AgentConfig;
  readonly buildDateMs: number;
  readonly containerd: Pick<Containerd, "version" | "criStatus">;
  /** undefined: not enrolled. @throws when the file is damaged */
  readonly loadIdentity: () => Promise<NodeIdentity | undefined>;
  /** @throws when NATS cannot be reached or refuses */
  readonly tryNats: (identity: NodeIdentity, signal: AbortSignal) => Promise<void>;
  readonly isAgentRunning: () => Promise<boolean>;
}

const CHECK_TIMEOUT_MS = 15_000;
const LITTLE_FREE_BYTES = 256 * 1024 * 1024;
const DAY_MS = 86_400_000;

export async function examine(parts: DoctorParts): Promise<readonly Finding[]> {
  const { config, clock } = parts;
  const checked = (check: string, next: string, work: (signal: AbortSignal) => Promise<Partial<Finding> & { message: string }>) =>
    withDeadline(clock, check, CHECK_TIMEOUT_MS, undefined, work).then(
      (finding): Finding => ({ check, verdict: "ok", next: "", ...finding }),
      (error: unknown): Finding => ({ check, verdict: "failed", message: error instanceof Error ? error.message : String(error), next }),
    );
  const identityCheck = checked("identity", "move the state directory away and enrol again with a new join token", async () =>
    lifeOf(await parts.loadIdentity(), parts),
  );
  const identity = await parts.loadIdentity().catch(() => undefined);
  return Promise.all([
    checked("agent", "systemctl start drover-agent", async () => {
      if (await parts.isAgentRunning()) return { message: "runs and answers" };
      return { verdict: "warning", message: `no agent answers on ${config.stateDir}`, next: "systemctl status drover-agent" };
    }),
    checked("permissions", "", () => permissionsOf(config.stateDir)),
    checked("state directory", `check the disk that holds ${config.stateDir}`, () => writableState(config.stateDir)),
    checked("clock", "", async () => {
      if (clock.now() >= parts.buildDateMs) return { message: `is credible: ${new Date(clock.now()).toISOString()}` };
      const message = `says ${new Date(clock.now()).toISOString()}, before this agent was built`;
      return { verdict: "failed", message, next: "set the clock, and look after time synchronisation (timedatectl)" };
    }),
    identityCheck,
    checked("coordinator", "", async (signal) => {
      const ca = await findPinnedCa(clock, config.coordinator, config.caPin, signal);
      if (ca.kind === "trusted") return { message: `${config.coordinator} answers with the pinned CA` };
      if (ca.kind === "unreachable") {
        return {
          verdict: "failed",
          message: `${config.coordinator}: ${ca.message}`,
          next: "check the address, the network and any firewall between",
        };
      }
      const message = `${config.coordinator} presents ${ca.presented.join(", ") || "no CA"}, not caPin`;
      return {
        verdict: "failed",
        message,
        next: "compare caPin with the output of `drover token create`; do not go on if nobody changed the CA",
      };
    }),
    ...(identity === undefined
      ? []
      : [
          checked("sessions", "check the network and any firewall between", async (signal) => {
            await reach(identity.credential.sessionEndpoint, signal);
            return { message: `${identity.credential.sessionEndpoint} accepts connections` };
          }),
          checked("NATS", "check the network; a refused credential is replaced at the next renewal", async (signal) => {
            await parts.tryNats(identity, signal);
            return { message: `${identity.credential.natsUrls.join(", ")} accepts our credential` };
          }),
        ]),
    checked("containerd", `systemctl status containerd; is ${config.containerdAddress} its address?`, async (signal) => {
      const version = await parts.containerd.version(signal);
      const cri = await parts.containerd.criStatus(signal);
      if (cri.isReady) return { message: `${version} answers, CRI is ready` };
      return { verdict: "failed", message: `${version} answers, CRI is not ready: ${cri.message}`, next: "journalctl -u containerd" };
    }),
  ]);
}

function lifeOf(identity: NodeIdentity | undefined, { clock, config }: DoctorParts): Partial<Finding> & { message: string } {
  if (identity === undefined) {
    return {
      verdict: "warning",
      message: "this machine is not enrolled",
      next: `write a join token to ${config.joinTokenFile} (\`drover token create\`)`,
    };
  }
  const leftDays = ((identity.notAfterMs - clock.now()) / DAY_MS).toFixed(1);
  const until = new Date(identity.notAfterMs).toISOString();
  if (identity.notAfterMs > clock.now()) return { message: `${identity.nodeId}, certificate until ${until} (${leftDays} days)` };
  return {
    verdict: "failed",
    message: `${identity.nodeId}, certificate expired ${until}`,
    next: "let the agent reach the coordinator: it recovers by itself for 90 days",
  };
}

async function permissionsOf(stateDir: string): Promise<Partial<Finding> & { message: string }> {
  const directory = await stat(stateDir).catch(() => undefined);
  if (directory === undefined)
    return { verdict: "warning", message: `${stateDir} does not exist yet`, next: "the agent makes it at its first start" };
  const identity = await stat(join(stateDir, "identity.json")).catch(() => undefined);
  const isPrivate = (directory.mode & 0o077) === 0 && ((identity?.mode ?? 0) & 0o077) === 0;
  if (isPrivate) return { message: `${stateDir} is private` };
  return {
    verdict: "failed",
    message: `${stateDir} or the identity in it is readable by others`,
    next: `chmod 0700 ${stateDir}; chmod 0600 ${stateDir}/*`,
  };
}

async function writableState(stateDir: string): Promise<Partial<Finding> & { message: string }> {
  if ((await stat(stateDir).catch(() => undefined)) === undefined) return { message: "nothing there yet" };
  const probe = join(stateDir, `.doctor.${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(probe, "wx", 0o600);
  try {
    await file.writeFile("probe");
    await file.sync();
  } finally {
    await file.close();
    await unlink(probe);
  }
  const { bavail, bsize } = await statfs(stateDir);
  const freeMib = Math.floor((bavail * bsize) / 2 ** 20);
  if (bavail * bsize >= LITTLE_FREE_BYTES) return { message: `writable, ${freeMib} MiB free` };
  return { verdict: "warning", message: `writable, but only ${freeMib} MiB free`, next: `make room on the file system of ${stateDir}` };
}

function reach(endpoint: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(splitEndpoint(endpoint), () => {
      socket.destroy();
      resolve();
    });
    socket.on("error", reject);
    signal.addEventListener("abort", () => socket.destroy(), { once: true });
  });
}

/** One line each; what to do below it. */
export function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, verdict, message, next }) => {
    const line = `${verdict.padEnd(7)}  ${check.padEnd(width)}  ${message}`;
    return next === "" ? [line] : [line, `${" ".repeat(width + 11)}-> ${next}`];
  });
  return `${lines.join("\n")}\n`;
}
