/** What kubeadm prints, as phases and failures. Pure. */
import { redact } from "../../host/redact.ts";
import type { JobFailure } from "./memory.ts";

/** "[kubelet-start] Writing kubelet configuration" to its two parts; undefined: no line of a phase. */
export function phaseOf(line: string): { readonly phase: string; readonly text: string } | undefined {
  const match = /^\[([a-z0-9][a-z0-9-]*)\] (.+)$/.exec(line);
  return match === null ? undefined : { phase: match[1]!, text: match[2]! };
}

const ERROR_CHECK = /^\s*\[ERROR [^\]\s]+\]: /;
const ERROR_PHASE = /^error execution phase ([a-z0-9/-]+)/;
const NODE_IS_THERE = /^error execution phase kubelet-start: a Node with name ".*" and status "Ready" already exists/m;
const SHOWN_BYTES = 800;

export interface EndOfKubeadm {
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  /** systemd's: "exit-code", "signal", "timeout", "oom-kill". */
  readonly result: string;
}

/**
 * Why a join failed. kubeadm's exit codes do not tell much (1 for nearly all); its markers do: checks of preflight are "[ERROR Name]",
 * and a failed phase is named. Discovery is a part of phase preflight.
 */
export function joinFailure(output: string, end: EndOfKubeadm): JobFailure {
  const lines = redact(output).split("\n");
  const checks = lines.filter((line) => ERROR_CHECK.test(line)).map((line) => line.trim());
  const phase = lines.map((line) => ERROR_PHASE.exec(line)?.[1]).find((name) => name !== undefined);
  const how = end.exitCode === undefined ? `was ended by signal ${end.signal ?? "?"} (${end.result})` : `ended with ${end.exitCode}`;
  const said = checks.length > 0 ? checks : spokenErrors(lines);
  const message = `kubeadm join ${how}: ${bounded(said.join("; "))}`;
  if (end.result === "timeout") return { reason: "KubeadmTimeout", message, isRetryable: true };
  // What preflight complains about does not go away by itself.
  if (checks.length > 0 || end.exitCode === 2) return { reason: "PreflightFailed", message, isRetryable: false };
  if (end.exitCode === 3) return { reason: "KubeadmConfigRefused", message, isRetryable: false };
  if (phase?.startsWith("preflight") === true) return { reason: "DiscoveryFailed", message, isRetryable: true };
  // The Node of a machine that was reset stays Ready for as long as the cluster waits for a silent one (40 s).
  if (NODE_IS_THERE.test(output)) return { reason: "NodeNameTaken", message, isRetryable: true };
  if (phase?.startsWith("kubelet") === true) return { reason: "TlsBootstrapTimeout", message, isRetryable: true };
  return { reason: "KubeadmFailed", message, isRetryable: true };
}

function spokenErrors(lines: readonly string[]): readonly string[] {
  const from = lines.findIndex((line) => /^(error|couldn't|unable|failed|timed out)\b/i.test(line.trim()));
  const shown = (from < 0 ? lines.slice(-6) : lines.slice(from)).map((line) => line.trim());
  return shown.filter((line) => line !== "" && !line.startsWith("To see the stack trace"));
}

function bounded(text: string): string {
  return text.length > SHOWN_BYTES ? `${text.slice(0, SHOWN_BYTES - 3)}...` : text;
}
