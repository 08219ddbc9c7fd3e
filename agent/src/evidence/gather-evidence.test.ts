import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "@drover/lifecycle";
import { Impact, Plan } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fakeHost, type FakeHostOptions } from "../fake/index.ts";
import { emptyJournal } from "../reconcile/journal-state.ts";
import { gatherEvidence } from "./gather-evidence.ts";
import type { EvidenceSource } from "./sections.ts";

const never = new AbortController().signal;
const plan = Plan.fromPartial({
  generation: 4,
  steps: [{ id: "sysctl", spec: { $case: "sysctl", value: { values: { "vm.swappiness": "1" } } } }],
});
const enforcedPlan = Buffer.from(Plan.encode(plan).finish());

const key = (label: string): string => {
  const body = randomBytes(120).toString("base64").replace(/.{64}/g, "$&\n");
  return `-----BEGIN ${label}PRIVATE KEY-----\n${body}\n-----END ${label}PRIVATE KEY-----`;
};
/** What must not be found, and how it would lie in a log or file. */
const CANARIES: Readonly<Record<string, { readonly secret: string; readonly text: string }>> = (() => {
  const pem = key("EC ");
  const cut = key("").split("\n");
  const base64Key = Buffer.from(key("RSA ")).toString("base64");
  const joinToken = `abcdefgh27.${"Zk3_-Q".repeat(8).slice(0, 43)}`;
  const jwt = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJub2RlIn0.c2lnbmF0dXJlLWNhbmFyeQ`;
  const opaque = "opaqueBearerCanary0123456789";
  return {
    pem: { secret: pem.split("\n")[1]!, text: `found ${pem} in it` },
    "a key whose beginning is cut off": { secret: cut[1]!, text: cut.slice(1).join("\n") },
    kubeconfig: { secret: base64Key.slice(40, 80), text: `users:\n- user:\n    client-key-data: ${base64Key}\n` },
    "bootstrap token": { secret: "0123456789abcdef", text: "kubeadm join --token abcdef.0123456789abcdef" },
    "join token": { secret: joinToken.slice(11), text: `enrolling with ${joinToken} now` },
    jwt: { secret: jwt.slice(-16), text: `user ${jwt}` },
    bearer: { secret: opaque, text: `GET /api  Bearer ${opaque}` },
    authorization: { secret: "c2VjcmV0LWJhc2ljLWNhbmFyeQ", text: "Authorization: Basic c2VjcmV0LWJhc2ljLWNhbmFyeQ" },
    password: { secret: "hunter2-canary", text: '{"password":"hunter2-canary"}' },
    url: { secret: "url-canary", text: "pull from https://robot:url-canary@r.test/v2/" },
  };
})();

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-evidence-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function sourceOf(options: FakeHostOptions, more: Partial<EvidenceSource> = {}): EvidenceSource {
  return {
    host: fakeHost(options),
    clock: new VirtualClock(),
    about: { nodeId: "abcdefghij" },
    journal: emptyJournal,
    conditions: [],
    enforcedPlan,
    dryRun: async () => ({ steps: [], reason: "", message: "" }),
    readOutput: () => undefined,
    ...more,
  };
}

/** As anybody opens it. */
async function opened(bundle: Buffer): Promise<ReadonlyMap<string, string>> {
  await writeFile(join(directory, "bundle.tar.gz"), bundle);
  const names = execFileSync("tar", ["tzf", "bundle.tar.gz"], { cwd: directory, encoding: "utf8" }).trim().split("\n");
  execFileSync("tar", ["xzf", "bundle.tar.gz"], { cwd: directory });
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name), "utf8")] as const)));
}

describe("evidence", () => {
  it("holds journals, state, differences, disks and memory, and names what could not be had", async () => {
    const change = { path: "vm.swappiness", from: "60", to: "1", impact: Impact.IMPACT_LIVE, note: "" };
    const source = sourceOf(
      {
        files: { "/proc/meminfo": "MemTotal: 1 kB\n", "/proc/loadavg": "0.1 0.2 0.3 1/2 3\n" },
        programs: {
          "/usr/bin/journalctl": ({ args }) =>
            args[0]!.includes("kubelet") ? { exitCode: 1, stderr: "no journal" } : { stdout: `tail of ${args[0]}\n` },
        },
        probe: () => ({ isPassed: false, reason: "ConnectionRefused", message: "nobody listens" }),
      },
      {
        dryRun: async () => ({ steps: [{ step: "sysctl", changes: [change], reason: "", message: "" }], reason: "", message: "" }),
        readOutput: (step) => Buffer.from(`said by ${step}\n`),
      },
    );
    const files = await opened(await gatherEvidence(source, 2 ** 20, never));
    expect(files.get("journal/containerd.service.txt")).toBe("tail of --unit=containerd.service\n");
    expect(JSON.parse(files.get("diff.json")!)).toMatchObject({ steps: [{ step: "sysctl", changes: [change] }] });
    expect(JSON.parse(files.get("kubelet-healthz.json")!)).toMatchObject({ reason: "ConnectionRefused" });
    expect(files.get("steps/sysctl.txt")).toBe("said by sysctl\n");
    expect(files.get("proc/meminfo.txt")).toBe("MemTotal: 1 kB\n");
    expect(files.get("disks.txt")).toMatch(/^\/ \d+ bytes free\n/);
    expect(files.get("containerd.txt")).toBe("version 1.7.20\nCRI ready\n");
    expect(files.get("missing.txt")).toBe(
      "journal/kubelet.service.txt: journalctl ended with 1: no journal\nproc/uptime.txt: there is no /proc/uptime\nproc/mounts.txt: there is no /proc/1/mounts\n",
    );
  });

  it("I6: has no secret in it, wherever one lay", async () => {
    const planted = Object.values(CANARIES)
      .map(({ text }) => text)
      .join("\nan innocent line\n");
    for (const [what, { text, secret }] of Object.entries(CANARIES)) {
      expect(text, what).toContain(secret);
      const source = sourceOf({ programs: { "/usr/bin/journalctl": () => ({ stdout: `before\n${text}\nafter\n` }) } });
      const files = await opened(await gatherEvidence(source, 2 ** 20, never));
      expect(files.get("journal/kubelet.service.txt"), what).toContain("[redacted");
      expect([...files.values()].join("\n"), what).not.toContain(secret);
    }
    const everywhere = sourceOf(
      {
        files: { "/proc/meminfo": planted, "/proc/1/mounts": planted },
        programs: { "/usr/bin/journalctl": () => ({ exitCode: 1, stderr: CANARIES["bootstrap token"]!.text }) },
        probe: () => ({ isPassed: false, reason: "HttpStatus", message: CANARIES.bearer!.text }),
      },
      {
        readOutput: () => Buffer.from(planted),
        dryRun: () => Promise.reject(new Error(CANARIES.url!.text)),
        conditions: [{ type: "A", status: "False", reason: "B", message: planted, owner: "node", lastTransitionMs: 0 }],
      },
    );
    const all = [...(await opened(await gatherEvidence(everywhere, 2 ** 20, never))).values()].join("\n");
    for (const [what, { secret }] of Object.entries(CANARIES)) expect(all, what).not.toContain(secret);
    expect(all).toContain("[redacted");
  });

  it("keeps to the size it may have by leaving out what is oldest, and is there in time when something hangs", async () => {
    const noise = randomBytes(300_000).toString("hex");
    const source = sourceOf(
      { programs: { "/usr/bin/journalctl": () => ({ stdout: `${noise}\nthe newest line\n` }) } },
      { dryRun: () => new Promise<never>(() => undefined) },
    );
    const gathering = gatherEvidence(source, 100_000, never);
    await (source.clock as VirtualClock).advance(16_000);
    const bundle = await gathering;
    expect(bundle.length).toBeLessThanOrEqual(100_000);
    const files = await opened(bundle);
    expect(files.get("journal/kubelet.service.txt")).toMatch(/^\[\d+ bytes before this were left out\]\n[\s\S]*\nthe newest line\n$/);
    expect(files.get("missing.txt")).toContain("diff.json: diff.json took longer than 15000 ms");
    expect((await readdir(directory)).length).toBeGreaterThan(5);
    await expect(gatherEvidence(sourceOf({}), 10, never)).rejects.toThrow("does not fit into 10 bytes");
  });
});
