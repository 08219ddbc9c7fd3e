/** The endings of a command: exit codes that scripts may rely on, and errors that say what, where, why and what to do next. */

export const exitCodes = {
  ok: 0,
  failed: 1,
  /** Wrong words on the command line, or input that is not valid. */
  usage: 2,
  /** `wait` and `rollout status`: it ended, but not well. */
  degraded: 3,
  auth: 4,
  notFound: 5,
  conflict: 6,
  timeout: 7,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: ExitCode;
  /** The command or change that helps. */
  readonly next: string | undefined;

  constructor(exitCode: ExitCode, message: string, next?: string) {
    super(message);
    this.exitCode = exitCode;
    this.next = next;
  }
}
