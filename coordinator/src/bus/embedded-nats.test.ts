import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { silentLog, systemClock, systemRandom } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "./bus-conformance.ts";
import { openEmbeddedNats } from "./embedded-nats.ts";
import { choosePort } from "./nats-listen.ts";
import { type NatsTestbed, openNatsTestbed } from "./nats-testbed.ts";
import { openNatsTrust } from "./nats-trust.ts";

const NODE = "aaaaaaaaaa";

describe("the embedded NATS", () => {
  let testbed: NatsTestbed;
  beforeEach(async () => {
    testbed = await openNatsTestbed();
  });
  afterEach(() => testbed.close());

  it("is adopted by the next coordinator after kill -9 of the first, and no node loses its connection", async () => {
    await testbed.nats.stop();
    const program = `
      import { openEmbeddedNats } from ${JSON.stringify(fileURLToPath(new URL("embedded-nats.ts", import.meta.url)))};
      import { silentLog, systemClock, systemRandom } from "@drover/lifecycle";
      const paths = JSON.parse(process.argv[1]);
      const nats = await openEmbeddedNats({ ...paths, port: 0, clock: systemClock, random: systemRandom, log: silentLog });
      await nats.ensureRunning();
      console.log(nats.pid);
      setInterval(() => {}, 1000);
    `;
    const { trustDir, dataDir } = testbed.options();
    const args = ["--input-type=module", "--eval", program, JSON.stringify({ trustDir, dataDir })];
    const first = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "inherit"],
      cwd: fileURLToPath(new URL(".", import.meta.url)),
    });
    const [line] = (await once(first.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    const node = await testbed.connectNode(NODE);
    first.kill("SIGKILL");
    await once(first, "exit");
    expect(await testbed.nats.ensureRunning()).toBe("adopted");
    expect(testbed.nats.pid).toBe(pid);
    await node.flush();
    expect(node.isClosed()).toBe(false);
  });

  it("does not take a stranger with a used pid for its own, and starts anew", async () => {
    await testbed.nats.stop();
    const record = { pid: process.pid, startTicks: "1", bootId: "x", fingerprint: "" };
    writeFileSync(join(testbed.dir, "nats/nats.pid.json"), JSON.stringify(record));
    expect(await testbed.nats.ensureRunning()).toBe("started");
    expect(testbed.nats.pid).not.toBe(process.pid);
  });

  it("tells an adopted server the revocations that its dead coordinator only wrote down", async () => {
    const node = await testbed.connectNode(NODE);
    openNatsTrust(join(testbed.dir, "trust")).revoke(testbed.key(NODE).publicKey, Date.now());
    const next = await openEmbeddedNats(testbed.options());
    expect(await next.ensureRunning()).toBe("adopted");
    await until(() => node.isClosed(), 5_000);
  });

  it("is started again when it dies and when its data directory is gone, at the same address", async () => {
    const stop = new AbortController();
    const running = testbed.nats.run(stop.signal);
    await until(() => testbed.nats.pid !== undefined);
    for (const end of ["kill", "remove"] as const) {
      const before = testbed.nats.pid!;
      if (end === "kill") process.kill(before, "SIGKILL");
      else rmSync(join(testbed.dir, "nats"), { recursive: true, force: true });
      await until(() => testbed.nats.pid !== undefined && testbed.nats.pid !== before);
      await until(async () =>
        testbed.connectNode(NODE).then(
          () => true,
          () => false,
        ),
      );
    }
    stop.abort();
    await running;
    expect(testbed.nats.pid).toBeUndefined();
  });

  it("finds the server whose data directory was taken away under it while nobody watched", async () => {
    const before = testbed.nats.pid!;
    rmSync(join(testbed.dir, "nats"), { recursive: true, force: true });
    const next = await openEmbeddedNats(testbed.options());
    expect(await next.ensureRunning()).toBe("started");
    expect(next.pid).not.toBe(before);
  });

  it("is started again when it goes on denying the account its JetStream, and not at the first denial", async () => {
    await testbed.nats.stop();
    let aheadMs = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
    const nats = await openEmbeddedNats({ ...testbed.options(), clock });
    const stop = new AbortController();
    await nats.ensureRunning();
    const running = nats.run(stop.signal);
    const first = nats.pid;
    nats.noteStorage(false);
    nats.noteStorage(true);
    aheadMs = 11_000;
    nats.noteStorage(false);
    aheadMs = 20_000;
    nats.noteStorage(false);
    expect(nats.pid).toBe(first);
    aheadMs = 22_000;
    nats.noteStorage(false);
    await until(() => nats.pid !== undefined && nats.pid !== first);
    stop.abort();
    await running;
  });

  it("begins a new log when the old one is full, and keeps three of the old ones", async () => {
    const logs = () => readdirSync(join(testbed.dir, "nats")).filter((name) => name.startsWith("nats.log"));
    await testbed.nats.stop();
    for (const second of ["01", "02", "03", "04"]) writeFileSync(join(testbed.dir, `nats/nats.log.2026.01.01.00.00.${second}.1`), "");
    truncateSync(join(testbed.dir, "nats/nats.log"), 16 * 1024 ** 2);
    const stop = new AbortController();
    const running = testbed.nats.run(stop.signal);
    await until(() => logs().length === 4 && statSync(join(testbed.dir, "nats/nats.log")).size < 1024 ** 2);
    expect(logs()[1]).toBe("nats.log.2026.01.01.00.00.03.1");
    stop.abort();
    await running;
  });

  it("keeps its keys, and all it writes, from others' eyes", () => {
    for (const folder of ["trust", "nats"]) {
      expect(statSync(join(testbed.dir, folder)).mode & 0o777).toBe(0o700);
      for (const entry of readdirSync(join(testbed.dir, folder), { withFileTypes: true })) {
        if (entry.isFile())
          expect(`${entry.name} ${(statSync(join(testbed.dir, folder, entry.name)).mode & 0o777).toString(8)}`).toBe(`${entry.name} 600`);
      }
    }
  });
});

describe("an embedded NATS that cannot run", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "drover-nats-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const open = (more: { port?: number; binaryPath?: string }) =>
    openEmbeddedNats({
      trustDir: join(dir, "trust"),
      dataDir: join(dir, "nats"),
      port: 0,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      ...more,
    });

  it("says that the program is missing, and where it looked", async () => {
    const nats = await open({ binaryPath: join(dir, "no-such-server") });
    await expect(nats.ensureRunning()).rejects.toMatchObject({
      reason: "ServerMissing",
      message: expect.stringContaining("no-such-server"),
    });
  });

  it("says that its port is taken, and how to see by whom", async () => {
    const port = await choosePort("127.0.0.1", systemRandom);
    const other = createServer().listen(port, "127.0.0.1");
    await once(other, "listening");
    const nats = await open({ port });
    await expect(nats.ensureRunning()).rejects.toMatchObject({ reason: "PortTaken", message: expect.stringContaining(`:${port}`) });
    other.close();
    await once(other, "close");
  });

  it("says how the program ended when it does not start", async () => {
    const binaryPath = join(dir, "broken");
    writeFileSync(binaryPath, "#!/bin/sh\necho out of luck\nexit 3\n");
    chmodSync(binaryPath, 0o755);
    const nats = await open({ binaryPath });
    await expect(nats.ensureRunning()).rejects.toMatchObject({
      reason: "DidNotStart",
      message: expect.stringMatching(/exit code 3[^]*out of luck/),
    });
  });

  it("never replaces damaged keys, and does not print them", async () => {
    await open({});
    writeFileSync(join(dir, "trust/nats-seeds.json"), '{"operator":"SOSECRET"');
    const refused = await open({}).catch((error: unknown) => error as Error);
    expect(refused).toBeInstanceOf(Error);
    expect((refused as Error).message).toContain("nats-seeds.json is damaged");
    expect((refused as Error).message).not.toContain("SOSECRET");
  });
});
