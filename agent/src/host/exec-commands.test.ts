import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ExecCommands } from "./exec-commands.ts";

const never = new AbortController().signal;
const commands = new ExecCommands(systemClock);
const sh = (script: string, timeoutMs = 10_000, input?: string) => ({
  program: "/bin/sh",
  args: ["-c", script],
  timeoutMs,
  ...(input === undefined ? {} : { input }),
});

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-exec-"));
});
afterEach(() => rm(directory, { recursive: true }));

async function isAlive(pidFile: string): Promise<boolean> {
  const pid = Number(await readFile(join(directory, pidFile), "utf8"));
  // A killed orphan may stay a zombie where nobody reaps: it runs no more.
  const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return status !== "" && !/\) Z /.test(status);
}

describe("running a command", () => {
  it("gives exit code and output, with a clean environment, its input, and no shell of ours", async () => {
    process.env["DROVER_TEST_LEAK"] = "leaked";
    const result = await commands.run(sh("cat; env; echo err >&2; exit 3", 10_000, "fed"), never);
    delete process.env["DROVER_TEST_LEAK"];
    expect(result).toMatchObject({ exitCode: 3, signal: undefined, timedOut: false, stderr: "err\n" });
    expect(result.stdout).toMatch(/^fed/);
    expect(result.stdout).not.toContain("leaked");
    expect((await commands.run({ program: "/bin/echo", args: ["$(id); `id` ; *"], timeoutMs: 5000 }, never)).stdout).toBe(
      "$(id); `id` ; *\n",
    );
  });

  it("takes absolute paths only, and says so by code when there is no such program", async () => {
    await expect(commands.run({ program: "sh", args: [], timeoutMs: 1000 }, never)).rejects.toThrow(RangeError);
    await expect(commands.run({ program: "/no/such", args: [], timeoutMs: 1000 }, never)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await commands.find(["/no/such", "/etc", "/etc/passwd", "/bin/sh"])).toBe("/bin/sh");
  });

  it("ends at the deadline with all grandchildren, also those that ignore TERM", async () => {
    const startedMs = performance.now();
    const script = `trap '' TERM; sh -c 'trap "" TERM; echo $$ > ${directory}/grandchild; while :; do sleep 1; done' & echo $$ > ${directory}/child; wait; wait`;
    const result = await commands.run(sh(script, 500), never);
    expect(result).toMatchObject({ timedOut: true, signal: "SIGKILL" });
    expect(performance.now() - startedMs).toBeLessThan(6000);
    expect([await isAlive("child"), await isAlive("grandchild")]).toEqual([false, false]);
  });

  it("leaves nothing of its group behind when the program itself ends", async () => {
    const result = await commands.run(sh(`sleep 1000 & echo $! > ${directory}/left; echo done`), never);
    expect(result).toMatchObject({ exitCode: 0, stdout: "done\n" });
    expect(await isAlive("left")).toBe(false);
  });

  it("does not wait for what left its group and holds the pipes", async () => {
    const startedMs = performance.now();
    await commands.run(sh(`setsid sh -c 'echo $$ > ${directory}/gone; exec sleep 1000' & sleep 0.3`), never);
    expect(performance.now() - startedMs).toBeLessThan(5000);
    process.kill(Number(await readFile(join(directory, "gone"), "utf8")), "SIGKILL");
  });

  it("reads 1 GB of output to its end and keeps 1 MiB of it", async () => {
    const before = process.memoryUsage().rss;
    const result = await commands.run(sh("head -c 1000000000 /dev/zero | tr '\\0' x; echo end >&2", 60_000), never);
    expect(result).toMatchObject({ exitCode: 0, stderr: "end\n" });
    expect(result.stdout.length).toBe(2 ** 20);
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 2 ** 20);
  }, 60_000);

  it("stops when told to, and throws why", async () => {
    const stop = new AbortController();
    const running = commands.run(sh(`echo $$ > ${directory}/child; echo ready; exec sleep 1000`), stop.signal);
    const cancel = systemClock.setTimer(200, () => stop.abort(new Error("enough")));
    await expect(running).rejects.toThrow("enough");
    cancel();
    expect(await isAlive("child")).toBe(false);
  });

  it("prints no secret", async () => {
    expect((await commands.run(sh("echo token abcdef.0123456789abcdef"), never)).stdout).toBe("token [redacted token]\n");
  });
});
