#!/usr/bin/env node
/** `drover`: the operator's command. */
import { runProgram } from "./program.ts";
import { makeSession } from "./session.ts";

const stop = new AbortController();
process.on("SIGINT", () => {
  if (stop.signal.aborted) process.exit(130);
  stop.abort();
});
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // `drover get nodes | head` closes our output early; that is no failure.
  process.exit(error.code === "EPIPE" ? 0 : 1);
});
process.exitCode = await runProgram(
  process.argv.slice(2),
  (options) => makeSession(options, process.env, stop.signal),
  (text) => void process.stderr.write(text),
);
