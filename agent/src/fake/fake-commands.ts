/** Programs as functions. */
import type { Command, CommandResult, Commands } from "../host/host.ts";
import type { EffectLog } from "./effect-log.ts";

/** What running a program gives; what is left out: exit code 0, no output. */
export type FakeProgram = (command: Command) => Partial<CommandResult> | Promise<Partial<CommandResult>>;

export class FakeCommands implements Commands {
  readonly #effects: EffectLog;
  readonly #programs: Map<string, FakeProgram>;

  constructor(effects: EffectLog, programs: Readonly<Record<string, FakeProgram>>) {
    this.#effects = effects;
    this.#programs = new Map(Object.entries(programs));
  }

  /** By the test's hand; undefined uninstalls. */
  install(path: string, program: FakeProgram | undefined): void {
    if (program === undefined) this.#programs.delete(path);
    else this.#programs.set(path, program);
  }

  async run(command: Command, signal: AbortSignal): Promise<CommandResult> {
    signal.throwIfAborted();
    this.#effects.record("commands.run", [command.program, ...command.args].join(" "), command.input ?? "");
    const program = this.#programs.get(command.program);
    if (program === undefined) throw Object.assign(new Error(`no program ${command.program}`), { code: "ENOENT" });
    const result = await program(command);
    return { exitCode: 0, signal: undefined, timedOut: false, stdout: "", stderr: "", ...result };
  }

  async find(paths: readonly string[]): Promise<string | undefined> {
    this.#effects.assertAlive();
    return paths.find((path) => this.#programs.has(path));
  }
}
