/** The host of `--root DIR`: files of an image, and nothing that runs. */
import { systemClock } from "@drover/lifecycle";
import { CheckedDownloads } from "./checked-downloads.ts";
import type { Containerd } from "./containerd-port.ts";
import type { Commands, Host, Kernel, Units } from "./host.ts";
import type { Modules } from "./module-port.ts";
import type { Probes } from "./probe-port.ts";
import { RootedFiles } from "./rooted-files.ts";
import type { Swaps } from "./swap-port.ts";
import type { TransientUnits } from "./transient-units-port.ts";

/** Something was asked of an image that only a running machine can answer. */
export class NotLive extends Error {
  override readonly name = "NotLive";
  readonly code = "NOT_LIVE";

  constructor(what: string) {
    super(`${what} needs the running machine, and --root works on an image`);
  }
}

/** @param root directory of the image's file system */
export function imageHost(root: string): Host {
  const files = new RootedFiles(root);
  return {
    isLive: false,
    files,
    kernel: refusing<Kernel>("the kernel", ["readSysctl", "writeSysctl", "isMountPoint", "bootId", "uptimeMs"]),
    commands: refusing<Commands>("running a command", ["run", "find"]),
    units: refusing<Units>("systemd", ["restart", "stop", "enable", "isActive", "daemonReload", "canReboot", "reboot"]),
    transientUnits: refusing<TransientUnits>("systemd", ["start", "status", "collect"]),
    containerd: {
      ...refusing<Containerd>("containerd", [
        "version",
        "criStatus",
        "storagePath",
        "listImages",
        "listCriImages",
        "pull",
        "importArchive",
        "putImage",
        "findComplete",
        "dropDamaged",
        "listSandboxes",
        "removeSandbox",
      ]),
      close() {},
    },
    modules: refusing<Modules>("the kernel", ["presence", "load"]),
    swaps: refusing<Swaps>("swap", ["list", "availableBytes", "off", "on"]),
    probes: refusing<Probes>("a probe", ["http", "tcp"]),
    downloads: new CheckedDownloads(files, systemClock),
  };
}

function refusing<Port>(what: string, methods: readonly (keyof Port)[]): Port {
  return Object.fromEntries(methods.map((method) => [method, () => Promise.reject(new NotLive(what))])) as Port;
}
