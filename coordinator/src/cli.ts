/** The grammar of `drover-coordinator`, and what each command prints. What a command does is elsewhere. */
import { homedir } from "node:os";
import { join } from "node:path";
import { formatProblem, labelValueOf } from "@drover/api";
import { Command, InvalidArgumentError, Option } from "commander";
import { type Config, loadConfig, overridable } from "./config/config.ts";
import { examine } from "./doctor.ts";
import { renderFindings } from "./finding.ts";
import { type Holders, lockedOut, type RotationStatus } from "./identity/ca-rotation.ts";
import { acceptRestored, makeJoinToken, makeOperator, rotateCa } from "./local-commands.ts";
import type { Role } from "./records.ts";
import { version } from "./version.ts";

const ROLES: readonly Role[] = ["viewer", "operator", "approver", "admin"];

export interface CliParts {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
  readonly serve: (config: Config) => Promise<void>;
}

/** The configuration is wrong; every problem was printed. */
export class ConfigurationRefused extends Error {
  override readonly name = "ConfigurationRefused";
}

type Flags = Readonly<Record<string, string | undefined>>;

export function buildProgram(parts: CliParts): Command {
  const { print } = parts;
  const program = new Command("drover-coordinator")
    .description("Rolls changes out over a fleet of machines and keeps them as they should be.")
    .version(version)
    .configureOutput({ writeOut: (text) => print(text.trimEnd()), writeErr: (text) => parts.printError(text.trimEnd()) })
    .exitOverride();
  const command = (parent: Command, name: string, description: string): Command =>
    configurable(parent.command(name).description(description));

  command(program, "run", "serve until stopped; the second signal ends it at once").action(async (flags: Flags) =>
    parts.serve(configFrom(parts, flags)),
  );

  command(program, "doctor", "look for what would keep the coordinator from working").action(async (flags: Flags) => {
    const findings = await examine(configFrom(parts, flags));
    for (const line of renderFindings(findings)) print(line);
    if (findings.some(({ outcome }) => outcome === "failed")) throw new CommandFailed("");
  });

  const operator = program.command("operator").description("people and their tools");
  command(operator, "create <name>", "make an operator, or give one a new certificate, and write it into a context file for drover")
    .addOption(new Option("--role <role>", "what the operator may do").choices(ROLES).makeOptionMandatory())
    .option(
      "--out <file>",
      "context file to merge it into",
      join(parts.env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config"), "drover", "config.yaml"),
    )
    .option("--endpoint <host:port>", "where drover is to connect to; default: the first advertised host")
    .action(async (name: string, flags: Flags & { role: Role; out: string }) => {
      const endpoint = await makeOperator(configFrom(parts, flags), {
        name,
        role: flags.role,
        out: flags.out,
        endpoint: flags["endpoint"],
      });
      print(`operator ${name} (${flags.role}) made; context ${name} for ${endpoint} is in ${flags.out}`);
    });

  const token = program.command("token").description("single-use tokens that let a machine enrol");
  command(token, "create", "make a join token; it is shown this once")
    .option("--ttl <seconds>", "how long it is valid", seconds, 3600)
    .option("--label <key=value...>", "put on the node at enrolment", label, {})
    .option("--description <text>", "for people", "")
    .action(async (flags: Flags & { ttl: number; label: Record<string, string>; description: string }) => {
      const made = await makeJoinToken(configFrom(parts, flags), {
        ttlSeconds: flags.ttl,
        labels: flags.label,
        description: flags.description,
      });
      print(`token:    ${made.token}`);
      print(`ca-pin:   ${made.caPin}`);
      print(`endpoint: ${made.endpoint}`);
      print(`expires:  ${new Date(made.expiresAtMs).toISOString()}`);
    });

  const ca = program.command("ca").description("the certificate authority behind nodes, operators and the coordinator");
  command(ca, "rotate", "replace the CA: begin, wait until everybody has renewed, promote")
    .addOption(new Option("--begin", "make a successor; it is trusted, and given out with each renewal").conflicts(["promote", "status"]))
    .addOption(new Option("--promote", "let the successor issue; refused while somebody does not hold it").conflicts(["begin", "status"]))
    .option("--status", "show who holds the successor (the default)")
    .option("--force", "promote although some are locked out by it")
    .action(async (flags: Flags & { begin?: true; promote?: true; force?: true }) => {
      const step = flags.begin ? "begin" : flags.promote ? "promote" : "status";
      for (const line of renderRotation(await rotateCa(configFrom(parts, flags), step, flags.force === true), step)) print(line);
    });

  command(program, "restore", "go on although nodes know more than this store")
    .requiredOption("--accept", "the store is an old backup, and that is accepted")
    .action(async (flags: Flags) => {
      print(`accepted; plan epoch is now ${await acceptRestored(configFrom(parts, flags))}. Apply the profiles again to move nodes.`);
    });

  program
    .command("version")
    .description("print the version")
    .action(() => print(version));
  return program;
}

/** The command ran and failed; what is to be said was said. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
}

function configurable(command: Command): Command {
  command.option("--config <file>", "coordinator.yaml; default: defaults and the flags below");
  for (const name of Object.keys(overridable))
    command.option(`--${name} <value>`, `as ${overridable[name as keyof typeof overridable].join(".")} in the file`);
  return command;
}

function configFrom({ env, printError }: CliParts, flags: Flags): Config {
  const named = Object.keys(overridable).map((name) => [name, flags[camelCase(name)]]);
  const loading = loadConfig(flags["config"], { env, flags: Object.fromEntries(named) as Flags });
  if (loading.ok) return loading.config;
  for (const problem of loading.problems) printError(formatProblem(problem));
  throw new ConfigurationRefused("the configuration is refused");
}

function renderRotation(status: RotationStatus, step: "begin" | "promote" | "status"): string[] {
  const { issuingPin, successor, nodes, operators } = status;
  const lines = [`issuing:    ${issuingPin}`];
  if (step === "promote")
    lines.push("promoted; machines baked with the pin before need this one to enrol, and so do join tokens that are still out");
  if (successor === undefined) return step === "promote" ? lines : [...lines, "successor:  none; make one with --begin"];
  const counted = ({ holding, lacking }: Holders): string => `${holding.length} of ${holding.length + lacking.length} hold the successor`;
  const isDone = nodes.lacking.length + operators.lacking.length === 0;
  return [
    ...lines,
    `successor:  ${successor.pin}, trusted since ${new Date(successor.sinceMs).toISOString()}`,
    `nodes:      ${counted(nodes)}`,
    `operators:  ${counted(operators)}`,
    isDone ? "next:       drover-coordinator ca rotate --promote" : `still without it:${lockedOut(status)}`,
  ];
}

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function seconds(text: string): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError("must be a number of seconds from 1");
  return Number(text);
}

function label(text: string, before: Record<string, string>): Record<string, string> {
  const [, key, value] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  if (key === undefined || value === undefined || labelValueOf(value) !== value) throw new InvalidArgumentError("must be key=value");
  return { ...before, [key]: value };
}
