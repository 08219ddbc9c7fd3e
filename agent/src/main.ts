/** The drover-agent process: hands the command line what it may see of the process, and ends with its exit code. */
import { runProgram } from "./cli/program.ts";

// grpc-js sets an IP address as TLS server name, which Node only warns about.
process.noDeprecation = true;

async function main(): Promise<void> {
  try {
    process.exitCode = await runProgram(process.argv.slice(2), {
      environment: process.env,
      out: (text) => void process.stdout.write(text),
      err: (text) => void process.stderr.write(text),
    });
  } catch (error) {
    process.stderr.write(`drover-agent: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

void main();
