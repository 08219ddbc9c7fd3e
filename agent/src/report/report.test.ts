import { VirtualClock } from "@drover/lifecycle";
import { Budget, Heartbeat } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { redact } from "../host/redact.ts";
import { MemoryStateDirectory } from "../state/index.ts";
import { Heartbeats, slotOf } from "./heartbeats.ts";
import { OutputRing } from "./output-ring.ts";

describe("heartbeats", () => {
  it("beat once per interval at the node's slot, at once on another generation, in at most 20 bytes", async () => {
    const clock = new VirtualClock();
    const beats: { atMs: number; beat: Heartbeat; bytes: number }[] = [];
    const bus = {
      isConnected: true,
      publishHeartbeat: (bytes: Uint8Array) => void beats.push({ atMs: clock.now(), beat: Heartbeat.decode(bytes), bytes: bytes.length }),
    };
    let generation = 2 ** 32;
    const heartbeats = new Heartbeats({ nodeId: "abcdefghij", bus, clock }, () => ({
      observedGeneration: generation,
      stateText: "x",
      flags: 31,
    }));
    const stop = new AbortController();
    const running = heartbeats.run(stop.signal);
    await clock.advance(100_000);
    expect(beats.length).toBe(11);
    for (const { atMs, bytes } of beats.slice(1)) {
      expect(atMs % 10_000).toBe(slotOf("abcdefghij", 10_000));
      expect(bytes).toBeLessThanOrEqual(20);
    }
    generation += 1;
    heartbeats.generationMayHaveChanged();
    heartbeats.generationMayHaveChanged();
    expect(beats.length).toBe(12);
    heartbeats.takeBudget(Budget.fromPartial({ heartbeatIntervalMs: 60_000 }));
    await clock.advance(600_000);
    expect(beats.length).toBe(22);
    stop.abort();
    await running;
    await clock.advance(600_000);
    expect(beats.length).toBe(22);
  });

  it("of neighbours are spread over the interval", () => {
    const quarters = [0, 0, 0, 0];
    for (let index = 0; index < 1000; index += 1) quarters[Math.floor(slotOf(`node-${index}`, 1000) / 250)]! += 1;
    for (const count of quarters) expect(count).toBeGreaterThan(200);
  });
});

describe("the output ring", () => {
  it("gives back in chunks what the latest run of a step said, and its tail and digest", async () => {
    const state = new MemoryStateDirectory();
    const ring = await OutputRing.open(state);
    await ring.begin("a").finish();
    const old = ring.begin("a");
    old.say("old");
    await old.finish();
    const output = ring.begin("a");
    for (let line = 0; line < 5000; line += 1) output.say(`line ${line}`);
    const summary = await output.finish();
    const whole = Array.from({ length: 5000 }, (_, line) => `line ${line}\n`).join("");
    expect(summary).toMatchObject({ heldBytes: whole.length, tail: whole.slice(-2048) });
    expect(summary.digest.length).toBe(32);
    const again = await OutputRing.open(state);
    let read = "";
    for (;;) {
      const chunk = again.read("a", read.length, 7000)!;
      read += chunk.bytes.toString();
      if (chunk.isLast) break;
    }
    expect(read).toBe(whole);
    expect(again.read("b", 0, 100)).toBeUndefined();
    expect(again.read("", 0, 4)?.bytes.toString()).toBe("old\n");
  });

  it("stays within its bound and says where what it holds begins", async () => {
    const ring = await OutputRing.open(new MemoryStateDirectory(), { maxBytes: 100_000 });
    const output = ring.begin("a");
    for (let line = 0; line < 50_000; line += 1) output.say(`line ${line}`);
    const { heldBytes } = await output.finish();
    expect(heldBytes).toBeLessThan(100_000);
    expect(ring.read("a", 0, 10)?.offset).toBeGreaterThan(0);
  });
});

describe("redaction", () => {
  it.each([
    "--token abcdef.0123456789abcdef",
    "Authorization: Bearer hunter2hunter2",
    "password=hunter2hunter2",
    '"secret": "hunter2hunter2"',
    "https://user:hunter2hunter2@mirror.example/v2",
    "-----BEGIN EC PRIVATE KEY-----\nhunter2hunter2\n-----END EC PRIVATE KEY-----",
  ])("takes the secret out of %s", (text) => {
    expect(redact(text)).not.toMatch(/hunter2|0123456789abcdef/);
  });

  it("leaves digests and image names alone", () => {
    const text = `pulled registry.k8s.io/pause:3.9@sha256:${"ab".repeat(32)} 1.2.3`;
    expect(redact(text)).toBe(text);
  });
});
