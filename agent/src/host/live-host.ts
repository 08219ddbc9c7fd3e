/** The machine the agent runs on. */
import type { Clock } from "@drover/lifecycle";
import type { Containerd } from "./containerd-port.ts";
import { CheckedDownloads } from "./checked-downloads.ts";
import { ExecCommands } from "./exec-commands.ts";
import type { Host } from "./host.ts";
import { KernelModules } from "./kernel-modules.ts";
import { NetworkProbes } from "./network-probes.ts";
import { ProcKernel } from "./proc-kernel.ts";
import { ProcSwaps } from "./proc-swaps.ts";
import { RootedFiles } from "./rooted-files.ts";
import { SystemdTransientUnits } from "./systemd-transient-units.ts";
import { SystemdUnits } from "./systemd-units.ts";

/** @param containerd from host/containerd, connected to the machine's socket */
export function liveHost(clock: Clock, containerd: Containerd): Host {
  const commands = new ExecCommands(clock);
  const files = new RootedFiles("/");
  return {
    isLive: true,
    files,
    kernel: new ProcKernel(),
    commands,
    units: new SystemdUnits(commands),
    transientUnits: new SystemdTransientUnits(commands),
    containerd,
    modules: new KernelModules(commands),
    swaps: new ProcSwaps(commands),
    probes: new NetworkProbes(),
    downloads: new CheckedDownloads(files, clock),
  };
}
