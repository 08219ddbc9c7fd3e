/** The process drover-coordinator: logger, signals, exit codes. 0 ok, 1 failed, 2 usage or configuration. */
import "reflect-metadata";
import { type Log, stopSignal } from "@drover/lifecycle";
import { CommanderError } from "commander";
import { pino } from "pino";
import { NatsUnavailable } from "./bus/nats-listen.ts";
import { buildProgram, CommandFailed, ConfigurationRefused } from "./cli.ts";
import { AuthorityUnusable } from "./identity/authority.ts";
import { LocalRefusal } from "./local-commands.ts";
import { CannotListen } from "./rpc/servers.ts";
import { AlreadyRunning, serve } from "./serve.ts";
import { SecretKeyUnusable } from "./cluster/secret-key-file.ts";
import { StoreUnusable } from "./store/sqlite-store.ts";

const printError = (line: string): void => void process.stderr.write(`${line}\n`);

/** What an operator can do something about: its message is enough. */
const EXPECTED = [AlreadyRunning, AuthorityUnusable, CannotListen, LocalRefusal, NatsUnavailable, SecretKeyUnusable, StoreUnusable];

const program = buildProgram({
  env: process.env,
  print: (line) => void process.stdout.write(`${line}\n`),
  printError,
  serve: async (config) => {
    const log = pino({ level: config.log.level, base: null }) as unknown as Log;
    await serve({ config, log }, stopSignal());
  },
});

try {
  await program.parseAsync(process.argv);
} catch (error) {
  process.exitCode = exitCodeOf(error);
}
// What is left now are handles of libraries; everything of ours has ended.
process.exit();

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof ConfigurationRefused) return 2;
  if (error instanceof CommandFailed) return 1;
  const message = error instanceof Error ? error.message : String(error);
  printError(
    EXPECTED.some((kind) => error instanceof kind)
      ? `drover-coordinator: ${message}`
      : `drover-coordinator: ${(error as Error).stack ?? message}`,
  );
  return 1;
}
