import { describe, expect, it } from "vitest";
import { Progress, ProgressPhase } from "@drover/proto";
import { progressLine } from "./follow-progress.ts";

const { PROGRESS_PHASE_STARTED, PROGRESS_PHASE_RUNNING, PROGRESS_PHASE_DONE, PROGRESS_PHASE_FAILED, PROGRESS_PHASE_UNCHANGED } =
  ProgressPhase;

describe("a line of live progress", () => {
  const cases: readonly [says: string, progress: Partial<Progress>][] = [
    ["sysctl     started", { step: "sysctl", phase: PROGRESS_PHASE_STARTED }],
    [
      "sysctl     net.core.somaxconn done, 128 -> 4096",
      { step: "sysctl", item: "net.core.somaxconn", phase: PROGRESS_PHASE_DONE, message: "128 -> 4096" },
    ],
    ["sysctl     done, 2 changes", { step: "sysctl", phase: PROGRESS_PHASE_DONE, message: "2 changes" }],
    ["images     in sync already", { step: "images", phase: PROGRESS_PHASE_UNCHANGED }],
    ["containerd failed, NotInSync: read back", { step: "containerd", phase: PROGRESS_PHASE_FAILED, message: "NotInSync: read back" }],
    ["containerd restart containerd.service", { step: "containerd", item: "restart containerd.service", phase: PROGRESS_PHASE_RUNNING }],
    [
      "images     r/x:1 started, 4.0 MiB",
      { step: "images", item: "r/x:1", phase: PROGRESS_PHASE_STARTED, totalBytes: 100, message: "4.0 MiB" },
    ],
    [
      "images     r/x:1, 1.0 MiB of 4.0 MiB (25 % of the step)",
      { step: "images", item: "r/x:1", phase: PROGRESS_PHASE_RUNNING, doneBytes: 25, totalBytes: 100, message: "1.0 MiB of 4.0 MiB" },
    ],
    ["kubeadm    preflight", { step: "kubeadm", item: "preflight", phase: PROGRESS_PHASE_RUNNING }],
    ["kubeadm    kubelet-start done", { step: "kubeadm", item: "kubelet-start", phase: PROGRESS_PHASE_DONE }],
    [
      "binaries   kubelet (17.5 MiB of 70.0 MiB, 25 %)",
      { step: "binaries", item: "kubelet", phase: PROGRESS_PHASE_RUNNING, doneBytes: 17.5 * 2 ** 20, totalBytes: 70 * 2 ** 20 },
    ],
    [
      "binaries   kubelet done (100 % of the step)",
      { step: "binaries", item: "kubelet", phase: PROGRESS_PHASE_DONE, doneBytes: 70, totalBytes: 70 },
    ],
  ];
  it.each(cases)("%s", (says, progress) => {
    expect(progressLine("web-1", Progress.fromPartial(progress))).toBe(`  web-1  ${says}`);
  });
});
