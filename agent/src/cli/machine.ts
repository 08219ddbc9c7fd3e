/** The host that the command line works on: this machine, or with --root an image. */
import { resolve } from "node:path";
import type { Clock } from "@drover/lifecycle";
import { ContainerdClient } from "../host/containerd/containerd-client.ts";
import type { Host } from "../host/host.ts";
import { liveHost } from "../host/live-host.ts";
import { imageHost } from "../host/not-live.ts";

export interface Machine {
  readonly host: Host;
  /** Where the state directory of the configuration lies. */
  pathOf(path: string): string;
}

export function machineAt(root: string | undefined, clock: Clock, containerdAddress: string): Machine {
  if (root === undefined)
    return { host: liveHost(clock, new ContainerdClient({ socketPath: containerdAddress, clock })), pathOf: (path) => path };
  const directory = resolve(root);
  return { host: imageHost(directory), pathOf: (path) => `${directory}${path}` };
}
