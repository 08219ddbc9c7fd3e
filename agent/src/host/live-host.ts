/** The machine the agent runs on. */
import type { Clock } from "@drover/lifecycle";
import type { Containerd } from "./containerd-port.ts";
import { ExecCommands } from "./exec-commands.ts";
import type { Host } from "./host.ts";
import { ProcKernel } from "./proc-kernel.ts";
import { RootedFiles } from "./rooted-files.ts";
import { SystemdUnits } from "./systemd-units.ts";

/** @param containerd from host/containerd, connected to the machine's socket */
export function liveHost(clock: Clock, containerd: Containerd): Host {
  const commands = new ExecCommands(clock);
  return {
    isLive: true,
    files: new RootedFiles("/"),
    kernel: new ProcKernel(),
    commands,
    units: new SystemdUnits(commands),
    containerd,
  };
}
