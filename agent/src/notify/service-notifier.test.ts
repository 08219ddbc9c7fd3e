import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "@drover/lifecycle";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serviceNotifier } from "./service-notifier.ts";

let directory: string;
let program: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-notify-"));
  program = join(directory, "systemd-notify");
  await writeFile(program, `#!/bin/sh\necho "$NOTIFY_SOCKET $1" >> ${directory}/told\n`);
  await chmod(program, 0o700);
});
afterEach(() => rm(directory, { recursive: true }));

async function told(): Promise<string[]> {
  const text = await readFile(join(directory, "told"), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

test("ready and the newest of several statuses are told, in order", async () => {
  const notifier = serviceNotifier("/run/n", program);
  notifier.ready();
  notifier.status("one");
  notifier.status("two\nlines");
  await expect.poll(told).toEqual(["/run/n --ready", "/run/n --status=two lines"]);
});

test("the watchdog is fed every 120 s, and only when the main loop has turned", async () => {
  const clock = new VirtualClock();
  let turns = 0;
  const stop = new AbortController();
  const running = serviceNotifier("/run/n", program)
    .watchdog(clock, () => turns)
    .run(stop.signal);
  await expect.poll(told).toHaveLength(1);
  await clock.advance(120_000);
  await clock.advance(120_000);
  turns += 1;
  await clock.advance(120_000);
  await expect.poll(told).toEqual(["/run/n WATCHDOG=1", "/run/n WATCHDOG=1"]);
  stop.abort(new Error("stop"));
  await running;
});

test("without a socket no child is started", async () => {
  const notifier = serviceNotifier(undefined, program);
  notifier.ready();
  notifier.status("x");
  await notifier.watchdog(new VirtualClock(), () => 1).run(AbortSignal.abort());
  expect(await told()).toEqual([]);
});
