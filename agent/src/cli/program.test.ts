import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Plan, SignedPlan } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lockStateDirectory } from "./instance-lock.ts";
import { answerLocally } from "./local-socket.ts";
import { runProgram } from "./program.ts";

const CONFIG = `coordinator: 127.0.0.1:1\ncaPin: sha256:${"ab".repeat(32)}\nstateDir: /var/lib/drover-agent\n`;
const PROFILE = `apiVersion: drover.dev/v1alpha1
kind: NodeProfile
metadata: {name: small}
spec:
  sysctl: {values: {net.core.somaxconn: "4096"}}
`;

let directory: string;
let root: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-cli-"));
  root = join(directory, "image");
  await mkdir(join(root, "etc/drover"), { recursive: true });
  await writeFile(join(root, "etc/drover/agent.yaml"), CONFIG);
  await writeFile(join(directory, "agent.yaml"), CONFIG.replace("/var/lib", `${directory}/var/lib`));
  await writeFile(join(directory, "profile.yaml"), PROFILE);
});
afterEach(() => rm(directory, { recursive: true }));

async function typed(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: "", err: "" };
  const around = { environment: {}, out: (text: string) => void (said.out += text), err: (text: string) => void (said.err += text) };
  return { code: await runProgram(args, around), ...said };
}

describe("usage errors end with 2 and say what is wrong", () => {
  test.each([
    [["fly"], /unknown command 'fly'/],
    [["run", "--fast"], /unknown option '--fast'/],
    [["apply"], /required option '--plan <file>'/],
    [["status", "-o", "xml"], /must be one of text, json/],
    [["diff", "--config", "/nonexistent/agent.yaml"], /ENOENT.*--config/],
    [["doctor", "--config", "/nonexistent/agent.yaml"], /ENOENT.*--config/],
    [["run", "--config", "/nonexistent/agent.yaml"], /ENOENT.*--config/],
  ])("%j", async (args, message) => {
    const { code, err } = await typed(...args);
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });
});

test("version prints it and ends with 0", async () => {
  expect(await typed("version")).toEqual({ code: 0, out: "drover-agent 0.1.0\n", err: "" });
});

describe("status", () => {
  test("without an agent it says so, what to do next, and ends with 1", async () => {
    const { code, out, err } = await typed("status", "--config", join(directory, "agent.yaml"));
    expect({ code, out }).toEqual({ code: 1, out: expect.stringContaining("not enrolled") });
    expect(err).toContain("next: systemctl status drover-agent");
  });

  test("with one it prints its answer", async () => {
    const stateDir = join(directory, "var/lib/drover-agent");
    await mkdir(stateDir, { recursive: true });
    const answering = await answerLocally(stateDir, { status: () => ({ agentVersion: "9", nodeId: "abcdefgh22", isBusConnected: true }) });
    const { code, out } = await typed("status", "-o", "json", "--config", join(directory, "agent.yaml"));
    await answering.close();
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ isRunning: true, nodeId: "abcdefgh22" });
  });
});

test("two instances on one state directory: the second is refused until the first has gone", async () => {
  const first = await lockStateDirectory(directory);
  expect((await lockStateDirectory(directory)).isHeld).toBe(false);
  if (first.isHeld) await first.release();
  const second = await lockStateDirectory(directory);
  expect(second.isHeld).toBe(true);
  if (second.isHeld) await second.release();
});

describe("diff and apply on files", () => {
  const onImage = (command: string, file: string, ...more: string[]) =>
    typed(command, "--root", root, "--plan", join(directory, file), ...more);

  test.each([
    ["text that is no manifest", "hello", /plan:1:1/],
    ["a NodeSet", PROFILE.replace("NodeProfile", "NodeSet"), /plan:\d+:\d+/],
    ["a value out of its range", PROFILE.replace('"4096"', '"-1"'), /plan:5:\d+.*somaxconn/],
    ["bytes that are no plan", "\u0001\u0002\u0003", /neither a SignedPlan nor YAML|refused whole/],
  ])("%s is refused with 2 and its place", async (_what, content, message) => {
    await writeFile(join(directory, "plan"), content);
    const { code, err } = await onImage("diff", "plan");
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });

  test("a file that is not there is an error with its name", async () => {
    expect(await onImage("diff", "absent")).toMatchObject({ code: 2, err: expect.stringMatching(/absent: cannot be read \(ENOENT\)/) });
  });

  test("a plan with an unknown field is refused whole", async () => {
    const plan = Buffer.concat([Buffer.from(Plan.encode(Plan.fromPartial({ generation: 1 })).finish()), Buffer.from([0xf8, 0x06, 0x01])]);
    await writeFile(join(directory, "plan"), SignedPlan.encode(SignedPlan.fromPartial({ plan })).finish());
    expect(await onImage("diff", "plan")).toMatchObject({ code: 2, err: expect.stringMatching(/refused whole: UnknownField/) });
  });

  test("an image differs from a profile, is brought to it, and then is the same", async () => {
    const before = await onImage("diff", "profile.yaml");
    const applied = await onImage("apply", "profile.yaml");
    const after = await onImage("diff", "profile.yaml");
    expect({ before, applied, after }).toMatchObject({ before: { code: 1 }, applied: { code: 0 }, after: { code: 0, out: "" } });
    expect(before.out).toContain("/etc/sysctl.d/90-drover.conf");
  });
});
