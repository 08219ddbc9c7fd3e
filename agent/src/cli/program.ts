/** The command line: what may be typed, and the exit codes: 0 ok, 1 failed, 2 usage; diff: 0 same, 1 differs, 2 error. */
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { DEFAULT_CONFIG_PATH } from "../config/agent-config.ts";
import { agentVersion } from "../version.ts";

export interface Output {
  out(text: string): void;
  err(text: string): void;
}

/** What of the process the command line may see. */
export interface Surroundings extends Output {
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface ConfigOption {
  readonly config: string;
}

export interface MachineOptions extends ConfigOption {
  /** Of an image's file system; undefined: the running machine. */
  readonly root?: string;
  readonly plan?: string;
}

/** @param args without program and script @returns the exit code */
export async function runProgram(args: readonly string[], around: Surroundings): Promise<number> {
  let exitCode = 0;
  const ends = (work: Promise<number>): Promise<void> =>
    work.then((code) => {
      exitCode = code;
      return undefined;
    });
  const program = new Command("drover-agent")
    .description("Keeps this machine as its coordinator wants it.")
    .version(agentVersion)
    .exitOverride()
    .configureOutput({ writeOut: (text) => around.out(text), writeErr: (text) => around.err(text) });
  const command = (name: string, description: string): Command =>
    program.command(name).description(description).option("--config <file>", "configuration of the agent", DEFAULT_CONFIG_PATH);

  command("run", "run the agent until it is told to stop").action((options: ConfigOption) =>
    // Loaded when it is wanted: the other commands start without it.
    ends(import("./run.ts").then(({ run }) => run(options, around))),
  );
  command("status", "what the agent on this machine is doing")
    .option("-o, --output <format>", "text or json", oneOf("text", "json"), "text")
    .action((options: ConfigOption & { output: string }) => ends(import("./status.ts").then(({ status }) => status(options, around))));
  command("diff", "what differs from the enforced plan, or from a plan or profile in a file; changes nothing")
    .option("--plan <file>", "a SignedPlan, or a NodeProfile with its ImageLock as YAML")
    .option("--root <dir>", "an image's file system instead of the running machine")
    .action((options: MachineOptions) => ends(import("./plan-commands.ts").then(({ diff }) => diff(options, around))));
  command("apply", "bring this machine, or an image, to a plan or profile in a file")
    .requiredOption("--plan <file>", "a SignedPlan, or a NodeProfile with its ImageLock as YAML")
    .option("--root <dir>", "an image's file system instead of the running machine")
    .option("--dry-run", "print what would change, and change nothing")
    .action((options: MachineOptions & { dryRun?: boolean }) =>
      ends(import("./plan-commands.ts").then(({ apply }) => apply(options, around))),
    );
  command("doctor", "look at everything the agent needs, and say what to do about what is wrong")
    .option("-o, --output <format>", "text or json", oneOf("text", "json"), "text")
    .action((options: ConfigOption & { output: string }) =>
      ends(import("./doctor-command.ts").then(({ doctor }) => doctor(options, around))),
    );
  command("support", "write an archive for whoever helps: logs, conditions, what differs from the plan; without secrets")
    .option("--out <file>", "where to; there must be no such file yet (default: drover-support-<time>.tar.gz in this directory)")
    .action((options: ConfigOption & { out?: string }) =>
      ends(import("./support-command.ts").then(({ support }) => support(options, around))),
    );
  command("preseed", "at a boot, before anything reads them: put back files whose change was not confirmed").action(
    (options: ConfigOption) => ends(import("./preseed-command.ts").then(({ preseedCommand }) => preseedCommand(options, around))),
  );
  program
    .command("version")
    .description("print the agent's version")
    .action(() => around.out(`drover-agent ${agentVersion}\n`));

  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}

function oneOf(...values: readonly string[]): (value: string) => string {
  return (value) => {
    if (values.includes(value)) return value;
    throw new InvalidArgumentError(`It must be one of ${values.join(", ")}.`);
  };
}
