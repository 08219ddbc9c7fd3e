import { describe, expect, it } from "vitest";
import { joinFailure, phaseOf } from "./output.ts";

const ended = { exitCode: 1, signal: undefined, result: "exit-code" };

describe("what kubeadm prints", () => {
  it("tells its phases", () => {
    expect(phaseOf("[kubelet-start] Starting the kubelet")).toEqual({ phase: "kubelet-start", text: "Starting the kubelet" });
    expect(phaseOf("This node has joined the cluster:")).toBeUndefined();
    expect(phaseOf("\t[WARNING Swap]: running with swap on is not supported")).toBeUndefined();
  });

  // The texts are those of kubeadm 1.20.2.
  it.each([
    [
      "PreflightFailed",
      false,
      "[preflight] Running pre-flight checks\nerror execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR Swap]: running with swap on is not supported. Please disable swap\n[preflight] If you know what you are doing, you can make a check non-fatal",
      "[ERROR Swap]: running with swap on is not supported",
    ],
    [
      "PreflightFailed",
      false,
      "error execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1\n",
      "[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys",
    ],
    [
      "DiscoveryFailed",
      true,
      'error execution phase preflight: couldn\'t validate the identity of the API Server: could not find a JWS signature in the cluster-info ConfigMap for token ID "abcdef"\nTo see the stack trace of this error execute with --v=5 or higher',
      "could not find a JWS signature",
    ],
    [
      "TlsBootstrapTimeout",
      true,
      "[kubelet-start] Waiting\nerror execution phase kubelet-start: timed out waiting for the condition",
      "timed out waiting",
    ],
    [
      "NodeNameTaken",
      true,
      'error execution phase kubelet-start: a Node with name "w-1" and status "Ready" already exists in the cluster. You must delete the existing Node',
      "already exists in the cluster",
    ],
    ["KubeadmFailed", true, "panic: something\n", "panic: something"],
  ])("tells why a join failed: %s", (reason, isRetryable, output, told) => {
    const failure = joinFailure(output, ended);
    expect(failure).toMatchObject({ reason, isRetryable });
    expect(failure.message).toContain("kubeadm join ended with 1: ");
    expect(failure.message).toContain(told);
    expect(failure.message).not.toContain("stack trace");
  });

  it("tells a join that took too long, and one that was killed", () => {
    expect(joinFailure("", { exitCode: undefined, signal: 15, result: "timeout" })).toMatchObject({ reason: "KubeadmTimeout" });
    expect(joinFailure("", { exitCode: undefined, signal: 9, result: "signal" }).message).toContain("signal 9");
  });

  it("never tells a token", () => {
    const { message } = joinFailure("error: token abcdef.0123456789abcdef is bad", ended);
    expect(message).not.toContain("0123456789abcdef");
  });
});
