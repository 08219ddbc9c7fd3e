import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, seededRandom, silentLog, systemClock, VirtualClock } from "@drover/lifecycle";
import { Facts } from "@drover/proto";
import { status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FileStateDirectory } from "../state/index.ts";
import { CredentialRotation, renewAtMs } from "./credential-rotation.ts";
import { untilClockCredible } from "./credible-clock.ts";
import { enrol, enrolOnce, type EnrolmentParts } from "./enrol.ts";
import { FakeCoordinator } from "./fake-coordinator.ts";
import { IdentityStore, type NodeIdentity } from "./identity.ts";
import { recoverOnce } from "./recover.ts";
import { renewOnce } from "./renew.ts";

const TOKEN = "abcdef.0123456789canary";
const never = new AbortController().signal;
/** Waits ten times shorter than asked. */
const hastyClock: Clock = { ...systemClock, setTimer: (delayMs, fire) => systemClock.setTimer(delayMs / 10, fire) };

let coordinator: FakeCoordinator;
let directory: string;
let store: IdentityStore;
const told: string[] = [];

beforeAll(async () => {
  coordinator = await FakeCoordinator.start();
});
afterAll(() => coordinator.stop());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-identity-"));
  store = new IdentityStore(await FileStateDirectory.open(join(directory, "state")));
  await writeFile(join(directory, "token"), `${TOKEN}\n`);
  told.length = 0;
  coordinator.enrolled.length = 0;
  coordinator.renewed.length = 0;
  coordinator.recovered.length = 0;
  coordinator.refusal = undefined;
  coordinator.answersToLose = 0;
  coordinator.lifeMs = 3_600_000;
});
afterEach(() => rm(directory, { recursive: true }));

function parts(changes: Partial<EnrolmentParts> = {}): EnrolmentParts {
  return {
    clock: hastyClock,
    random: seededRandom(1),
    log: silentLog,
    store,
    endpoint: coordinator.enrolmentEndpoint,
    caPin: coordinator.authority.pin,
    joinTokenFile: join(directory, "token"),
    machineName: "pm-1",
    facts: () => Promise.resolve(Facts.fromPartial({})),
    tell: (sentence) => told.push(sentence),
    ...changes,
  };
}

const renewal = () => ({ clock: systemClock, store, endpoint: coordinator.enrolmentEndpoint });

describe("enrolment", () => {
  test("the token is spent for an identity that is on disk, private, and the token's file is gone", async () => {
    const identity = await enrol(parts(), never);
    expect(identity.nodeId).toMatch(/^[a-z2-7]{10}$/);
    expect(coordinator.enrolled).toMatchObject([
      { joinToken: TOKEN, name: "pm-1", natsPublicKey: expect.stringMatching(/^U[A-Z2-7]{55}$/) },
    ]);
    expect(coordinator.enrolled[0]!.nonce).toHaveLength(16);
    expect(await readdir(directory)).toEqual(["state"]);
    expect(await readdir(join(directory, "state"))).toEqual(["identity.json"]);
    expect((await stat(join(directory, "state"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, "state", "identity.json"))).mode & 0o777).toBe(0o600);
    expect(await store.load()).toEqual(identity);
  });

  test("I6: nothing prints the keys", async () => {
    const identity = await enrol(parts(), never);
    const printed = `${JSON.stringify(identity)} ${String(identity.keys.natsSeed)}`;
    expect(printed).not.toContain("PRIVATE KEY");
    expect(printed).not.toMatch(/SU[A-Z2-7]{20}/);
  });

  test("after a lost answer the same nonce and key are offered again, also by another process", async () => {
    coordinator.answersToLose = 1;
    expect(await enrolOnce(parts(), never)).toMatchObject({ kind: "unreachable", reason: "Unavailable" });
    const other = new IdentityStore(await FileStateDirectory.open(join(directory, "state")));
    await enrol(parts({ store: other }), never);
    const [first, second] = coordinator.enrolled;
    expect(second!.nonce).toEqual(first!.nonce);
    expect(second!.natsPublicKey).toBe(first!.natsPublicKey);
  });

  test("with a wrong pin the coordinator is not even asked, and the token stays", async () => {
    const ending = await enrolOnce(parts({ caPin: `sha256:${"0".repeat(64)}` }), never);
    expect(ending).toMatchObject({ kind: "refused", reason: "CaPinMismatch", message: expect.stringContaining(coordinator.authority.pin) });
    expect(coordinator.enrolled).toEqual([]);
    expect(await readFile(join(directory, "token"), "utf8")).toContain(TOKEN);
  });

  test("a refused token is told and tried again, so that a new one can be put there", async () => {
    coordinator.refusal = { code: status.UNAUTHENTICATED, details: "TokenUsed" };
    const stop = new AbortController();
    const enrolling = enrol(parts({ tell: (sentence) => stop.abort(new Error(sentence)) }), stop.signal);
    await expect(enrolling).rejects.toThrow("not enrolled: Unauthenticated: TokenUsed");
  });

  test.each(["", "two words", "\u0000"])("a token file holding %j is told as such", async (content) => {
    await writeFile(join(directory, "token"), content);
    expect(await enrolOnce(parts(), never)).toMatchObject({ kind: "refused", reason: "JoinTokenMissing" });
    await rm(join(directory, "token"));
    expect(await enrolOnce(parts(), never)).toMatchObject({
      kind: "refused",
      reason: "JoinTokenMissing",
      message: expect.stringContaining("ENOENT"),
    });
  });

  test("a damaged identity is an error, never a reason to enrol as another node", async () => {
    await enrol(parts(), never);
    await writeFile(join(directory, "state", "identity.json"), "{}");
    await expect(store.load()).rejects.toMatchObject({ name: "UnusableIdentity" });
  });
});

describe("renewal and recovery", () => {
  test("a renewal has a new certificate for a new key, the same node and NATS key", async () => {
    const identity = await enrol(parts(), never);
    const ending = await renewOnce(renewal(), identity, never);
    const renewed = (await store.load())!;
    expect(ending).toEqual({ kind: "renewed", identity: renewed });
    expect(renewed.nodeId).toBe(identity.nodeId);
    expect(renewed.keys.natsPublicKey).toBe(identity.keys.natsPublicKey);
    expect(renewed.keys.privateKeyPem.reveal()).not.toBe(identity.keys.privateKeyPem.reveal());
    expect(renewed.credential.renewalCounter).toBe(1);
  });

  test("after a lost answer the renewal offers the same key and counter, and the old identity still stands", async () => {
    const identity = await enrol(parts(), never);
    coordinator.answersToLose = 1;
    expect(await renewOnce(renewal(), identity, never)).toMatchObject({ kind: "unreachable" });
    expect(await store.load()).toEqual(identity);
    await renewOnce(renewal(), identity, never);
    expect(coordinator.renewed.map(({ renewalCounter }) => renewalCounter)).toEqual([0, 0]);
    expect((await store.load())!.credential.renewalCounter).toBe(1);
  });

  test("an expired certificate is recovered by proof of possession", async () => {
    coordinator.lifeMs = 300;
    const identity = await enrol(parts(), never);
    coordinator.lifeMs = 3_600_000;
    expect(await recoverOnce(renewal(), identity, never)).toMatchObject({ kind: "renewed" });
    expect(coordinator.recovered[0]!.certificate).toEqual(identity.credential.certificateChain[0]);
    expect((await store.load())!.notAfterMs).toBeGreaterThan(Date.now());
  });

  test("renewal is due at two thirds of the life, +- 10 %", () => {
    const random = seededRandom(5);
    const due = Array.from({ length: 200 }, () => renewAtMs({ notBeforeMs: 0, notAfterMs: 3000 }, random));
    expect(Math.min(...due)).toBeGreaterThanOrEqual(1800);
    expect(Math.max(...due)).toBeLessThanOrEqual(2200);
    expect(Math.max(...due) - Math.min(...due)).toBeGreaterThan(300);
  });

  test("rotation renews at start when it is due, tells its listeners, and tries again after failures", async () => {
    coordinator.lifeMs = 4000;
    const identity = await enrol(parts(), never);
    const rotation = new CredentialRotation(
      { ...renewal(), clock: hastyClock, random: seededRandom(2), log: silentLog, tell: () => {} },
      identity,
    );
    coordinator.lifeMs = 3_600_000;
    coordinator.answersToLose = 2;
    const stop = new AbortController();
    const rotated = new Promise<NodeIdentity>((resolve) => rotation.onRotated(resolve));
    const running = rotation.run(stop.signal);
    expect(await rotated).toBe(rotation.current);
    expect(coordinator.renewed).toHaveLength(3);
    stop.abort(new Error("stop"));
    await running;
  });

  test("rotation recovers when the certificate has expired", async () => {
    coordinator.lifeMs = 300;
    const identity = await enrol(parts(), never);
    coordinator.lifeMs = 3_600_000;
    const clock = { ...hastyClock, now: () => Date.now() + 60_000 };
    const rotation = new CredentialRotation({ ...renewal(), clock, random: seededRandom(2), log: silentLog, tell: () => {} }, identity);
    const stop = new AbortController();
    const rotated = new Promise((resolve) => rotation.onRotated(resolve));
    const running = rotation.run(stop.signal);
    await rotated;
    expect(coordinator.renewed).toEqual([]);
    expect(coordinator.recovered).toHaveLength(1);
    stop.abort(new Error("stop"));
    await running;
  });
});

test("a clock before the build date is waited out", async () => {
  const clock = new VirtualClock(0);
  let waits = 0;
  let isCredible = false;
  const waiting = (async () => {
    await untilClockCredible(clock, Date.UTC(2026, 0, 1), () => (waits += 1), never);
    isCredible = true;
  })();
  await clock.advance(600_000);
  expect({ waits, isCredible }).toEqual({ waits: 1, isCredible: false });
  clock.jump(Date.UTC(2026, 5, 1));
  await clock.advance(5000);
  await waiting;
  expect(isCredible).toBe(true);
});
