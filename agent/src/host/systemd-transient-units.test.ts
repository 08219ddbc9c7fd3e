import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { EffectLog, FakeCommands } from "../fake/index.ts";
import { startArguments, SystemdTransientUnits, transientStatus } from "./systemd-transient-units.ts";
import { UnitFailed } from "./systemd-units.ts";

const never = new AbortController().signal;
const folders: string[] = [];
afterEach(() => Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true }))));

const shown = (properties: Record<string, string>): string =>
  Object.entries(properties)
    .map(([key, value]) => `${key}=${value}`)
    .join("\n");

describe("transient units", () => {
  it.each([
    ["absent", { LoadState: "not-found", ActiveState: "inactive", SubState: "dead" }],
    ["absent", { LoadState: "loaded", ActiveState: "inactive", SubState: "dead" }],
    ["running", { LoadState: "loaded", ActiveState: "activating", SubState: "start" }],
    ["running", { LoadState: "loaded", ActiveState: "active", SubState: "running" }],
    ["running", { LoadState: "loaded", ActiveState: "deactivating", SubState: "stop-sigterm" }],
  ])("are %s as systemctl shows them: %o", (state, properties) => {
    expect(transientStatus(shown(properties))).toEqual({ state });
  });

  it("have ended with an exit code or a signal, and systemd's own word for it", () => {
    const over = {
      LoadState: "loaded",
      ActiveState: "active",
      SubState: "exited",
      Result: "success",
      ExecMainCode: "1",
      ExecMainStatus: "0",
    };
    expect(transientStatus(shown(over))).toEqual({ state: "ended", exitCode: 0, signal: undefined, result: "success" });
    const failed = {
      LoadState: "loaded",
      ActiveState: "failed",
      SubState: "failed",
      Result: "exit-code",
      ExecMainCode: "1",
      ExecMainStatus: "2",
    };
    expect(transientStatus(shown(failed))).toMatchObject({ exitCode: 2, result: "exit-code" });
    const late = { ...failed, Result: "timeout", ExecMainCode: "2", ExecMainStatus: "15" };
    expect(transientStatus(shown(late))).toEqual({ state: "ended", exitCode: undefined, signal: 15, result: "timeout" });
  });

  it("are started with fixed arguments, a dollar is no variable, and their output is root's alone and empty", async () => {
    const folder = await mkdtemp(join(tmpdir(), "drover-transient-"));
    folders.push(folder);
    const outputFile = join(folder, "output");
    await writeFile(outputFile, "of another run", { mode: 0o644 });
    const effects = new EffectLog();
    const units = new SystemdTransientUnits(new FakeCommands(effects, { "/usr/bin/systemd-run": () => ({}) }));
    const order = {
      unit: "drover-x-1.service",
      description: "x",
      program: "/usr/bin/x",
      args: ["--a=$HOME"],
      outputFile,
      runtimeMaxMs: 1500,
    };
    await units.start(order, never);
    expect(await readFile(outputFile, "utf8")).toBe("");
    expect((await stat(outputFile)).mode & 0o777).toBe(0o600);
    const args = startArguments(order);
    expect(args.slice(args.indexOf("--"))).toEqual(["--", "/usr/bin/x", "--a=$$HOME"]);
    expect(args).toContain("--property=RuntimeMaxSec=2");
    expect(() => startArguments({ ...order, unit: "--scope" })).toThrow(RangeError);
  });

  it("say how systemd-run failed", async () => {
    const folder = await mkdtemp(join(tmpdir(), "drover-transient-"));
    folders.push(folder);
    const commands = new FakeCommands(new EffectLog(), { "/usr/bin/systemd-run": () => ({ exitCode: 1, stderr: "Unit exists" }) });
    const order = { unit: "a.service", description: "", program: "/x", args: [], outputFile: join(folder, "o"), runtimeMaxMs: 1 };
    await expect(new SystemdTransientUnits(commands).start(order, never)).rejects.toThrow(UnitFailed);
  });
});
