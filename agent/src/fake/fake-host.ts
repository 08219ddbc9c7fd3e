/** A machine in memory that records what is done to it: what steps and reconcile are tested on. */
import type { ProbeAnswer } from "../host/probe-port.ts";
import type { Host } from "../host/host.ts";
import type { TransientUnit } from "../host/transient-units-port.ts";
import { EffectLog } from "./effect-log.ts";
import { FakeCommands, type FakeProgram } from "./fake-commands.ts";
import { FakeContainerd, type FakeContainerdOptions } from "./fake-containerd.ts";
import { FakeDownloads, type FakeSource } from "./fake-downloads.ts";
import { type FakeFile, FakeFiles } from "./fake-files.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { FakeModules, type FakeModulesOptions } from "./fake-modules.ts";
import { FakeSwaps, type FakeSwapsOptions } from "./fake-swaps.ts";
import { FakeTransientUnits, type TransientProgram } from "./fake-transient-units.ts";
import { FakeUnits } from "./fake-units.ts";

export interface FakeHostOptions {
  /** Absolute path to content, or to content with mode, or to a symlink's target. Default mode 0644. */
  readonly files?: Readonly<Record<string, FakeFile>>;
  /** Key in dot form to value; a key that is not here does not exist in this kernel. */
  readonly sysctls?: Readonly<Record<string, string>>;
  readonly mountPoints?: readonly string[];
  readonly bootId?: string;
  /** Absolute program path to what running it does; these paths are executable. */
  readonly programs?: Readonly<Record<string, FakeProgram>>;
  /** Active units; restarting one that is not here makes it active. */
  readonly activeUnits?: readonly string[];
  /** Called when a unit is restarted, before it is active again; may change the host, or throw as systemctl fails. */
  readonly onRestart?: (unit: string, host: FakeHost) => void;
  /** What a transient unit does when it is started; default: it runs until a test ends it. */
  /** What a probe of this URL or port is answered; left out or undefined: that all is well. */
  readonly probe?: (target: string) => ProbeAnswer | undefined;
  readonly onTransientStart?: (order: TransientUnit, host: FakeHost) => ReturnType<TransientProgram>;
  readonly containerd?: FakeContainerdOptions;
  /** Names of kernel modules; one that is in neither list does not exist. */
  readonly modules?: FakeModulesOptions;
  readonly swaps?: FakeSwapsOptions;
  /** Source to what lies there: a file's content, or an archive's members and their contents. */
  readonly sources?: Readonly<Record<string, FakeSource>>;
  /** Default 100 GiB. */
  readonly freeBytes?: number;
  /** Default true. */
  readonly isLive?: boolean;
}

export interface FakeHost extends Host {
  readonly files: FakeFiles;
  readonly kernel: FakeKernel;
  readonly commands: FakeCommands;
  readonly units: FakeUnits;
  readonly transientUnits: FakeTransientUnits;
  readonly containerd: FakeContainerd;
  readonly modules: FakeModules;
  readonly swaps: FakeSwaps;
  readonly downloads: FakeDownloads;
  /** Everything that was done to the machine, in order; reads are not effects. */
  readonly effects: EffectLog;
}

/** Makes a fake machine. Its parts stay reachable, so that a test can look into it or change it by hand. */
export function fakeHost(options: FakeHostOptions = {}): FakeHost {
  const effects = new EffectLog();
  const files = new FakeFiles(effects, options.files ?? {}, options.freeBytes ?? 100 * 2 ** 30);
  const host: FakeHost = {
    isLive: options.isLive ?? true,
    effects,
    files,
    kernel: new FakeKernel(
      effects,
      options.sysctls ?? {},
      options.mountPoints ?? [],
      options.bootId ?? "00000000-0000-4000-8000-000000000001",
    ),
    commands: new FakeCommands(effects, options.programs ?? {}),
    units: new FakeUnits(effects, options.activeUnits ?? [], (unit) => options.onRestart?.(unit, host)),
    transientUnits: new FakeTransientUnits(effects, files, (order) => options.onTransientStart?.(order, host)),
    containerd: new FakeContainerd(effects, options.containerd ?? {}),
    modules: new FakeModules(effects, options.modules ?? {}),
    swaps: new FakeSwaps(effects, options.swaps ?? {}),
    downloads: new FakeDownloads(effects, files, options.sources ?? {}),
    probes: {
      http: (url) => Promise.resolve(options.probe?.(url) ?? { isPassed: true }),
      tcp: (port) => Promise.resolve(options.probe?.(String(port)) ?? { isPassed: true }),
    },
  };
  return host;
}
