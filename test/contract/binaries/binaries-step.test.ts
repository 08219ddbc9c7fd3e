/** The binaries step with a real server, real archives and real files, in an image that a killed agent goes on with. */
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, readlink, realpath, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BinariesSpec } from "@drover/proto";
import { fakeStepContext, FakeStepMemory } from "../../../agent/src/fake/index.ts";
import { imageHost } from "../../../agent/src/host/not-live.ts";
import { binariesStep } from "../../../agent/src/steps/binaries/binaries-step.ts";
import { fileMemory } from "./file-memory.ts";

const KUBELET = "/usr/bin/kubelet";
const BRIDGE = "/opt/cni/bin/bridge";
const EMPTY = BinariesSpec.create({});

let directory: string;
let root: string;
let server: Server;
let asked: number;
const served = new Map<string, Buffer>();

beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), "drover-binaries-")));
  root = join(directory, "root");
  await mkdir(join(root, "usr/bin"), { recursive: true });
  await writeFile(join(root, KUBELET), "the package's", { mode: 0o755 });
  asked = 0;
  served.clear();
  server = createServer((request, response) => {
    asked += 1;
    const content = served.get(request.url ?? "");
    if (content === undefined) response.writeHead(404).end();
    else response.writeHead(200, { "content-length": content.length }).end(content);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => void server.close(resolve));
  await rm(directory, { recursive: true });
});

function serve(path: string, content: Buffer): { source: string; digest: string; sizeBytes: number } {
  served.set(path, content);
  const digest = `sha256:${createHash("sha256").update(content).digest("hex")}`;
  return { source: `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, digest, sizeBytes: content.length };
}

async function archive(version: string): Promise<Buffer> {
  const content = join(directory, `cni-${version}`);
  await mkdir(content);
  await writeFile(join(content, "bridge"), `bridge ${version}`);
  await writeFile(join(content, "host-local"), `host-local ${version}`);
  return execFileSync("/usr/bin/tar", ["-C", content, "-czf", "-", "."]);
}

async function specOf(version: string): Promise<BinariesSpec> {
  const program = Buffer.concat([Buffer.from(`kubelet ${version}\n`), randomBytes(300_000)]);
  return BinariesSpec.fromPartial({
    binaries: [
      { name: "kubelet", ...serve(`/kubelet-${version}`, program), files: [{ target: KUBELET }] },
      { name: "cni", ...serve(`/cni-${version}.tgz`, await archive(version)), files: [{ member: "./bridge", target: BRIDGE }] },
    ],
  });
}

/** What the image's own programs would find, its links read as inside of it. */
async function reached(target: string): Promise<string> {
  const link = await readlink(join(root, target)).catch(() => target);
  return (await readFile(join(root, link))).toString("latin1").split("\n")[0]!;
}

async function tree(): Promise<readonly string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort();
}

/** @returns whether it was killed */
async function mortalLife(spec: BinariesSpec, killAfter: number): Promise<boolean> {
  const script = join(import.meta.dirname, "apply-and-die.ts");
  const args = [script, root, join(directory, "memory"), JSON.stringify(spec), String(killAfter)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  const [code, signal] = await new Promise<unknown[]>((resolve) => void child.once("close", (...ending) => resolve(ending)));
  if (signal !== "SIGKILL" && code !== 0) throw new Error(`it ended with ${String(code ?? signal)}`);
  return signal === "SIGKILL";
}

/** @returns what is left to change */
async function life(spec: BinariesSpec): Promise<readonly unknown[]> {
  const context = { ...fakeStepContext(imageHost(root)), memory: fileMemory(join(directory, "memory")) };
  await binariesStep.apply(spec, [], context);
  return binariesStep.diff(spec, await binariesStep.observe(spec, context));
}

describe("the binaries step and real files", () => {
  it("fetches, extracts, switches, switches back without the network, and leaves nothing behind", async () => {
    const context = fakeStepContext(imageHost(root), { memory: new FakeStepMemory() });
    const [one, two] = [await specOf("1"), await specOf("2")];
    const diff = async (spec: BinariesSpec) => binariesStep.diff(spec, await binariesStep.observe(spec, context));
    for (const [spec, version] of [
      [one, "1"],
      [two, "2"],
      [one, "1"],
    ] as const) {
      await binariesStep.apply(spec, await diff(spec), context);
      expect([await diff(spec), await reached(KUBELET), await reached(BRIDGE)]).toEqual([[], `kubelet ${version}`, `bridge ${version}`]);
      const mode = (await stat(join(root, await readlink(join(root, KUBELET))))).mode;
      expect(mode & 0o7777).toBe(0o755);
    }
    expect(asked).toBe(4);
    await binariesStep.apply(EMPTY, await diff(EMPTY), context);
    expect([await tree(), await reached(KUBELET)]).toEqual([[KUBELET], "the package's"]);
  });

  it("refuses directories that others can write to", async () => {
    const context = fakeStepContext(imageHost(root), { memory: new FakeStepMemory() });
    const spec = await specOf("1");
    const refusal = async () => binariesStep.refuse(spec, await binariesStep.observe(spec, context));
    expect(await refusal()).toBeUndefined();
    await chmod(join(root, "usr/bin"), 0o777);
    expect(await refusal()).toEqual({ reason: "UnsafeDirectory", message: "/usr/bin may be written by everybody" });
    await chmod(join(root, "usr/bin"), 0o755);
    await chown(join(root, "usr"), 1000, 1000);
    expect(await refusal()).toEqual({ reason: "UnsafeDirectory", message: "/usr belongs to user 1000, not to root" });
  });

  it("killed before any change of a file, goes on: nothing is torn, and all goes back", { timeout: 120_000 }, async () => {
    const [one, two] = [await specOf("1"), await specOf("2")];
    let kills = 0;
    for (let survived = 0; ; survived += 1) {
      expect(await life(one)).toEqual([]);
      const isKilled = await mortalLife(two, survived);
      // Whatever was there can be run: the old one or the new one, whole.
      expect(await reached(KUBELET)).toMatch(/^kubelet [12]$/);
      expect(await reached(BRIDGE)).toMatch(/^bridge [12]$/);
      if (!isKilled) break;
      kills += 1;
      expect(await life(two)).toEqual([]);
      expect([await reached(KUBELET), await reached(BRIDGE)]).toEqual(["kubelet 2", "bridge 2"]);
      await mortalLife(EMPTY, survived);
      expect(await life(EMPTY)).toEqual([]);
      expect([await tree(), await reached(KUBELET)]).toEqual([[KUBELET], "the package's"]);
    }
    expect(kills).toBeGreaterThan(8);
  });
});
