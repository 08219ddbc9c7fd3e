/** For tests: an installed containerd as a program of the fake machine, which reads the fake's files through a directory of its own. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { FakeFiles, FakeProgram } from "./index.ts";

let directory: string | undefined;
const answers = new Map<string, { readonly exitCode: number; readonly stdout: string; readonly stderr: string }>();

/** The same question on the same text is answered from before: a program starts in 70 ms, and there are thousands. */
export function realContainerd(files: Pick<FakeFiles, "text">, program = "/usr/bin/containerd"): FakeProgram {
  return async ({ args }) => {
    const at = args.indexOf("--config") + 1;
    const fakePath = at === 0 ? undefined : args[at];
    const text = fakePath === undefined ? "" : (files.text(fakePath) ?? "");
    const question = JSON.stringify([program, args, text]);
    const known = answers.get(question);
    if (known !== undefined) return known;
    directory ??= mkdtempSync(join(tmpdir(), "drover-containerd-"));
    const realPath = join(directory, basename(fakePath ?? "none"));
    if (fakePath !== undefined) writeFileSync(realPath, text);
    const answer = await run(
      program,
      args.map((arg) => (arg === fakePath ? realPath : arg)),
    );
    const result = { ...answer, stdout: answer.stdout.replaceAll(realPath, fakePath ?? realPath) };
    answers.set(question, result);
    return result;
  };
}

export function removeRealContainerdFiles(): void {
  if (directory !== undefined) rmSync(directory, { recursive: true });
  directory = undefined;
}

function run(program: string, args: readonly string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: 20_000 }, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : 1, stdout, stderr });
    });
  });
}
