/** One interface for every kind of test machine: light (namespaces), full (booted systemd-nspawn), vm (qemu). */
import type { SpawnedProgram } from "./program.ts";

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Machine {
  readonly name: string;
  readonly kind: "light" | "full" | "vm";
  /** IPv4 address in the bed's network. */
  readonly address: string;
  /** Where the machine's own persistent files lie on the host; "/var/lib/x" is `${directory}/var-lib/x`, except a vm's, which are on its disk. */
  readonly directory: string;
  /** Runs a program in the machine. @throws only when the machine is gone or the deadline (default 60 s) passes */
  run(program: string, args: readonly string[], options?: { readonly timeoutMs?: number; readonly input?: string }): Promise<RunResult>;
  /** Starts a program in the machine that lives on; it ends with the machine. */
  spawn(program: string, args: readonly string[], logFile: string): Promise<SpawnedProgram>;
  readFile(path: string): Promise<string>;
  writeFile(path: string, content: string, mode?: number): Promise<void>;
  /** A service under the machine's supervisor: a shell script that ends with `exec PROGRAM`. Starts at once, restarts when it ends. */
  addService(name: string, script: string): Promise<void>;
  /** The running process of a service, as the host numbers it; in a vm as the vm does, where only run("kill") reaches it. Undefined while it is down. */
  servicePid(name: string): Promise<number | undefined>;
  /** How often the service has been started since boot. */
  serviceStarts(name: string): Promise<number>;
  serviceLog(name: string): Promise<string>;
  /** Everything in it dies at once, as by a power cut of a machine whose disk keeps what was written. */
  powerCut(): Promise<void>;
  /** After powerCut: same disk, new boot id, empty /run. */
  boot(): Promise<void>;
}
