/** Tells the quickstart's story on a terminal: chapters, commands as a user would type them, and claims with their proof. */
import { spawn } from "node:child_process";
import pc from "picocolors";
import type { Site } from "../testbed/site.ts";

export class Narrator {
  readonly #startedAt = performance.now();
  #claims = 0;

  chapter(title: string): void {
    console.log(`\n${pc.bold(pc.cyan(`── ${title}`))} ${pc.dim(`(${((performance.now() - this.#startedAt) / 1000).toFixed(0)} s)`)}`);
  }

  say(line: string): void {
    console.log(line);
  }

  /** Shows a command and its output as it comes. @returns exit code and standard output */
  async show(site: Site, words: readonly string[]): Promise<{ readonly exitCode: number; readonly stdout: string }> {
    console.log(pc.bold(`$ drover ${words.join(" ")}`));
    const [program, ...args] = site.cliCommand;
    const child = spawn(program!, [...args, ...words], { stdio: ["ignore", "pipe", "inherit"] });
    let stdout = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (chunk: string) => {
      stdout += chunk;
      process.stdout.write(chunk);
    });
    const exitCode = await new Promise<number>((resolve) => {
      child.once("close", (code) => resolve(code ?? -1));
    });
    return { exitCode, stdout };
  }

  /** Verified on the machines themselves, not by what the coordinator says. @throws when it does not hold */
  async claim(sentence: string, holds: () => Promise<boolean> | boolean): Promise<void> {
    if (!(await holds())) throw new Error(`this does not hold: ${sentence}`);
    this.#claims += 1;
    console.log(`${pc.green("✔")} ${sentence}`);
  }

  end(): void {
    console.log(`\n${this.#claims} claims verified on the machines, ${((performance.now() - this.#startedAt) / 1000).toFixed(0)} s in all`);
  }
}
