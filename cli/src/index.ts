/** The one door of cli/: the program, for tests that run it in-process. */
export { CliError, type ExitCode, exitCodes } from "./cli-error.ts";
export { runProgram } from "./program.ts";
export { type GlobalOptions, makeSession, type Session } from "./session.ts";
