/** The command line of `drover`: words, options and their checks; what a command does lies in commands/. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { CliError, type ExitCode, exitCodes } from "./cli-error.ts";
import { apply, type DryRun } from "./commands/apply.ts";
import { adoptCluster } from "./commands/cluster-adopt.ts";
import { listContexts, switchContext } from "./commands/context.ts";
import { deleteObjects } from "./commands/delete.ts";
import { describe } from "./commands/describe.ts";
import { diff } from "./commands/diff.ts";
import { get } from "./commands/get.ts";
import { logs } from "./commands/logs.ts";
import { fleetStatus } from "./commands/status.ts";
import { createToken } from "./commands/token.ts";
import { parseGoal, waitFor } from "./commands/wait.ts";
import { audit, whoAmI } from "./commands/who-and-audit.ts";
import { addCompletion } from "./completion.ts";
import { addNodeWords } from "./node-words.ts";
import { durationOption, manifestFiles, type OutputFormat, outputFormats, selectorFlag, wholeNumber } from "./options.ts";
import { addRolloutWords } from "./rollout-words.ts";
import type { GlobalOptions, Session } from "./session.ts";
import { addSimWord } from "./sim-word.ts";

export const VERSION = "0.1.0";

/**
 * Runs one command line.
 * @param makeSession called once the global options are known
 * @returns the exit code; everything is printed already
 */
export async function runProgram(
  argv: readonly string[],
  makeSession: (options: GlobalOptions) => Session,
  printError: (text: string) => void,
): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.ok;
  const program = new Command("drover")
    .description("Brings machines into Kubernetes clusters and keeps them as they should be.")
    .version(VERSION)
    .option("--context <name>", "which coordinator, from the context file ($DROVER_CONFIG, else ~/.config/drover/config.yaml)")
    .addOption(new Option("--request-timeout <duration>", "deadline of a single call").argParser(durationOption).default(15_000, "15s"))
    .showHelpAfterError("(drover --help, or drover COMMAND --help)")
    .exitOverride()
    .configureOutput({ writeErr: printError });
  const session = (): Session => {
    const options = program.opts<{ context?: string; requestTimeout: number }>();
    return makeSession({
      ...(options.context === undefined ? {} : { context: options.context }),
      requestTimeoutMs: options.requestTimeout,
    });
  };

  program
    .command("apply")
    .description("create or change objects from manifests; a change of what a set of nodes should be starts a rollout")
    .addOption(manifestFiles())
    .addOption(
      new Option("--dry-run <where>", "check only: here, at the coordinator, or by asking the nodes")
        .choices(["none", "client", "server", "node"])
        .default("none"),
    )
    .action((options: { filename: string[]; dryRun: DryRun }) => apply(session(), options.filename, options.dryRun));

  program
    .command("get <kind> [name]")
    .description("show objects: nodes, nodesets, nodeprofiles, clusters, rollouts, repairs, windows, imagelocks, jointokens")
    .addOption(selectorFlag())
    .addOption(new Option("-o, --output <format>", "how to show them").choices(outputFormats).default("table"))
    .option("-w, --watch", "go on and show changes", false)
    .action((kind: string, name: string | undefined, options: { selector: string; output: OutputFormat; watch: boolean }) =>
      get(session(), name === undefined ? [kind] : [kind, name], {
        selector: options.selector,
        output: options.output,
        isWatching: options.watch,
      }),
    );

  program
    .command("describe <kind> [name]")
    .description("all there is to know; equal machines are told once")
    .addOption(selectorFlag())
    .action((kind: string, name: string | undefined, options: { selector: string }) =>
      describe(session(), name === undefined ? [kind] : [kind, name], options.selector),
    );

  program
    .command("diff")
    .description("what apply would change; exit code 0 same, 1 differs, 2 and more error")
    .addOption(manifestFiles())
    .action(async (options: { filename: string[] }) => {
      try {
        if (await diff(session(), options.filename)) exitCode = exitCodes.failed;
      } catch (error) {
        // 1 means "differs" here, so that a failure must be something else.
        if (error instanceof CliError && error.exitCode === exitCodes.failed)
          throw new CliError(exitCodes.usage, error.message, error.next);
        throw error;
      }
    });

  program
    .command("delete [kind] [name]")
    .description("delete objects by name or from manifests")
    .addOption(manifestFiles())
    .addOption(new Option("--dry-run <where>", "check only, at the coordinator").choices(["none", "server"]).default("none"))
    .action((kind: string | undefined, name: string | undefined, options: { filename: string[]; dryRun: string }) =>
      deleteObjects(
        session(),
        [kind, name].filter((word) => word !== undefined),
        options.filename,
        options.dryRun === "server",
      ),
    );

  program
    .command("wait <kind> [name]")
    .description("wait until objects have a condition or phase, or are gone")
    .requiredOption("--for <goal>", "condition=TYPE[=STATUS], phase=PHASE or delete")
    .addOption(selectorFlag())
    .addOption(new Option("--timeout <duration>", "how long").argParser(durationOption).default(30_000, "30s"))
    .action((kind: string, name: string | undefined, options: { for: string; selector: string; timeout: number }) =>
      waitFor(session(), name === undefined ? [kind] : [kind, name], options.selector, parseGoal(options.for), options.timeout),
    );

  addRolloutWords(program, session);

  const token = program.command("token").description("join tokens: single-use secrets by which machines enrol");
  token
    .command("create")
    .description("make a join token")
    .addOption(new Option("--ttl <duration>", "how long it is good").argParser(durationOption).default(3_600_000, "1h"))
    .addOption(new Option("--label <key=value...>", "labels put on the node").default([]))
    .option("--description <text>", "for people", "")
    .addOption(new Option("-o, --output <format>").choices(["text", "json"]).default("text"))
    .action((options: { ttl: number; label: string[]; description: string; output: string }) =>
      createToken(session(), {
        ttlSeconds: Math.ceil(options.ttl / 1000),
        labels: Object.fromEntries(options.label.map(labelPair)),
        description: options.description,
        isJson: options.output === "json",
      }),
    );

  program
    .command("logs <node>")
    .description("what the steps printed on a node")
    .option("--step <id>", "only this step", "")
    .option("--max-bytes <count>", "at most this much", wholeNumber, 1024 * 1024)
    .action((node: string, options: { step: string; maxBytes: number }) =>
      logs(session(), node.replace(/^node\//, ""), options.step, options.maxBytes),
    );

  addNodeWords(program, session);

  program
    .command("cluster")
    .description("Kubernetes clusters that nodes join")
    .command("adopt <name>")
    .description("take an existing cluster into care, or give a new kubeconfig for it")
    .requiredOption("--kubeconfig <file>", "with everything in it (no files, no programs to run); - for standard input")
    .option("--endpoint <host:port>", "where nodes reach its API server; left out: as in the kubeconfig", endpointOption, "")
    .action((name: string, options: { kubeconfig: string; endpoint: string }) =>
      adoptCluster(session(), objectName(name.replace(/^cluster\//, "")), options.kubeconfig, options.endpoint),
    );

  addSimWord(program, session);

  program
    .command("status")
    .description("how well the coordinator sees the fleet, and what is under way; exit code 3 when it does not see well")
    .action(() => fleetStatus(session()));
  program
    .command("whoami")
    .description("your name and role")
    .action(() => whoAmI(session()));
  program
    .command("audit")
    .description("who changed or was refused what, newest first")
    .option("--limit <count>", "how many", wholeNumber, 50)
    .option("--actor <actor>", "only this one, such as operator:ann or node:ID", "")
    .option("--target <target>", "only of this object, such as Rollout/web-1", "")
    .action((options: { limit: number; actor: string; target: string }) => audit(session(), options.limit, options.actor, options.target));

  const context = program.command("context").description("which coordinator the commands speak to");
  context
    .command("list")
    .description("the contexts of the context file")
    .action(() => listContexts(session()));
  context
    .command("use <name>")
    .description("make it the current one")
    .action((name: string) => switchContext(session(), name));

  for (const command of [program, ...program.commands, ...program.commands.flatMap((one) => [...one.commands])]) {
    command.exitOverride().configureOutput({ writeErr: printError });
  }
  addCompletion(program);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (error instanceof CliError) {
      printError(`error: ${error.message}\n`);
      if (error.next !== undefined) printError(`next:  ${error.next}\n`);
      return error.exitCode;
    }
    printError(`error: ${(error as Error).stack ?? String(error)}\n`);
    return exitCodes.failed;
  }
}

function labelPair(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw new CliError(exitCodes.usage, `--label ${text} is not KEY=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function endpointOption(text: string): string {
  const port = Number(/^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?):(\d{1,5})$/.exec(text)?.[1] ?? 0);
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("must be host:port, such as 10.0.0.5:6443.");
  return text;
}

function objectName(text: string): string {
  if (/^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/.test(text)) return text;
  throw new CliError(
    exitCodes.usage,
    `'${text}' is no name: 1 to 63 lower-case letters, digits, '-' or '.', starting and ending with a letter or digit`,
  );
}
