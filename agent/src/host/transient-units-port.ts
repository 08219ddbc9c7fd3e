/** Programs in systemd units of their own: they live on when the agent ends, and how they ended can be asked later. */

export interface TransientUnit {
  /** With suffix, never used before in this boot: "drover-kubeadm-join-3.service". */
  readonly unit: string;
  /** For people who look at it with systemctl. */
  readonly description: string;
  /** Absolute path of the program. */
  readonly program: string;
  readonly args: readonly string[];
  /** Takes both outputs; made anew for root alone, in a directory that must be there. */
  readonly outputFile: string;
  /** The whole control group is ended after that. */
  readonly runtimeMaxMs: number;
}

export type TransientStatus =
  /** Never started, collected, or of a boot before. */
  | { readonly state: "absent" }
  | { readonly state: "running" }
  /** result is systemd's: "success", "exit-code", "signal", "timeout", "oom-kill". */
  | { readonly state: "ended"; readonly exitCode: number | undefined; readonly signal: number | undefined; readonly result: string };

/** How a unit ended stays until it is collected, or the machine boots again. */
export interface TransientUnits {
  /** Resolves when the program runs, in a control group of its own and with a clean environment. @throws when the unit exists */
  start(order: TransientUnit, signal: AbortSignal): Promise<void>;
  status(unit: string, signal: AbortSignal): Promise<TransientStatus>;
  /** Ends what runs in it and forgets how it ended; no error when absent. */
  collect(unit: string, signal: AbortSignal): Promise<void>;
}
