/** A repair asked by an operator, carried out by the real agent on a light machine with a real containerd. */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";

const agentMain = fileURLToPath(new URL("../../agent/src/main.ts", import.meta.url));
const apiVersion = "drover.dev/v1alpha1";
const FILES = ["about.json", "conditions.json", "diff.json", "containerd.txt", "images.json", "missing.txt", "proc/meminfo.txt"];

let site: Site;
let machine: LightMachine;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-repair-"));
  site = await Site.make();
  machine = await site.addMachine("ill", { role: "web" });
  const manifest = await site.manifest(
    "web",
    { apiVersion, kind: "NodeProfile", metadata: { name: "web" }, spec: { sysctl: { values: { "net.core.somaxconn": "4096" } } } },
    { apiVersion, kind: "NodeSet", metadata: { name: "web" }, spec: { selector: { matchLabels: { role: "web" } }, profile: "web" } },
  );
  await site.mustDrover(["apply", "-f", manifest]);
  await site.mustDrover(["rollout", "status", "web-1", "--progress", "--timeout", "60s"]);
}, 120_000);

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const listed = (file: string): readonly string[] => execFileSync("tar", ["tzf", file], { encoding: "utf8" }).trim().split("\n");

describe("a repair of a node", () => {
  it("gives its evidence to the operator as an archive that tar opens", async () => {
    const file = join(directory, "ill.tar.gz");
    await site.mustDrover(["node", "support", "ill", "--output", file]);
    expect(listed(file)).toEqual(expect.arrayContaining(FILES));
  });

  it("restarts containerd on the machine itself", async () => {
    const before = await eventually("containerd runs", 60_000, () => machine.servicePid("containerd"));
    await site.mustDrover(["repair", "ill", "--rung", "RestartUnits", "--unit", "containerd.service", "--reason", "test", "--yes"]);
    const after = await eventually("containerd is another", 60_000, async () => {
      const pid = await machine.servicePid("containerd");
      return pid !== undefined && pid !== before && pid;
    });
    expect(after).not.toBe(before);
    const book = await eventually("the rung is written down as done", 60_000, async () => {
      const held = await machine.run("cat", ["/var/lib/drover-agent/rungs.json"]);
      return held.stdout.includes('"done":true') && held.stdout;
    });
    expect(JSON.parse(book)).toMatchObject([{ rung: "restartUnits containerd.service", end: { done: true } }]);
  });

  it("has an archive written on the machine itself, once, for its owner alone", async () => {
    const args = [agentMain, "support", "--config", "/etc/drover/agent.yaml", "--out", "/var/lib/support.tar.gz"];
    expect(await machine.run(nodeProgram, args)).toMatchObject({ exitCode: 0, stdout: "/var/lib/support.tar.gz" });
    const inside = await machine.run("tar", ["tzf", "/var/lib/support.tar.gz"]);
    expect(inside.stdout.split("\n")).toEqual(expect.arrayContaining(FILES));
    expect((await machine.run("stat", ["-c", "%a", "/var/lib/support.tar.gz"])).stdout).toBe("600");
    expect(await machine.run(nodeProgram, args)).toMatchObject({ exitCode: 1 });
  });
});
