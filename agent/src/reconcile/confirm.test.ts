import { silentLog, VirtualClock } from "@drover/lifecycle";
import { type Event, Impact, Plan, PlanOutcome, Step } from "@drover/proto";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeCrash, type FakeHost, fakeHost, fakeSteps } from "../fake/index.ts";
import { MemoryStateDirectory } from "../state/index.ts";
import { noCredentials } from "../steps/step.ts";
import { Engine } from "./engine.ts";
import { defaultStepDeadlineMs } from "./engine-parts.ts";
import { type Failpoint, failpointFrom, failpointNames, noFailpoint } from "./failpoints.ts";
import { Journal } from "./journal.ts";
import { preseed } from "./preseed.ts";
import { TRY_RECORD_FILE } from "./try-record.ts";

const NODE = "abcdefghij";
const NET = "net.core.somaxconn";
const SETTINGS = "/etc/containerd/settings.json";
const DEADLINE_MS = 60_000;
const DIGEST = `sha256:${"a".repeat(64)}`;
const never = new AbortController().signal;

let clock: VirtualClock;
let state: MemoryStateDirectory;
let host: FakeHost;
let reported: Event[];

beforeEach(() => {
  clock = new VirtualClock();
  state = new MemoryStateDirectory();
  reported = [];
  host = fakeHost({ sysctls: { "vm.swappiness": "60", [NET]: "128" } });
  const bootedMs = clock.monotonicMs();
  host.kernel.countUptime(() => clock.monotonicMs() - bootedMs);
});

function planOf(generation: number, parts: { readonly value?: string; readonly image?: string; readonly confirmMs?: number }): Buffer {
  const { value, image, confirmMs = DEADLINE_MS } = parts;
  const plan = Plan.fromPartial({
    nodeId: NODE,
    planEpoch: 1,
    generation,
    revision: `r${generation}`,
    impactBound: Impact.IMPACT_RESTART,
    confirmDeadlineMs: confirmMs,
    steps: [
      ...(value === undefined ? [] : [{ id: "sysctl", spec: { $case: "sysctl" as const, value: { values: { [NET]: value } } } }]),
      ...(image === undefined ? [] : [{ id: "containerd", spec: { $case: "containerd" as const, value: { sandboxImage: image } } }]),
    ],
  });
  return Buffer.from(Plan.encode(plan).finish());
}

async function start(failpoint: Failpoint = noFailpoint, steps = fakeSteps()): Promise<Engine> {
  const life = state.session();
  return Engine.open({
    nodeId: NODE,
    host,
    steps,
    state: life,
    journal: await Journal.open(life, failpoint),
    reporter: { record: async (events) => void reported.push(...events), note: () => undefined },
    output: { begin: () => ({ say: () => undefined, finish: async () => ({ tail: "", digest: Buffer.alloc(0), heldBytes: 0 }) }) },
    showProgress: () => undefined,
    credentials: noCredentials,
    clock,
    log: silentLog,
    failpoint,
    stepDeadlineMs: defaultStepDeadlineMs,
  });
}

const finished = (): unknown[] => reported.flatMap(({ body }) => (body?.$case === "planFinished" ? [body.value] : []));

/** Generation 1 is enforced, and confirmed where that is asked. */
async function enforceFirst(parts: Parameters<typeof planOf>[1]): Promise<Engine> {
  const engine = await start();
  await engine.accept(planOf(1, { ...parts, confirmMs: 0 }));
  await engine.apply(never);
  expect(engine.journal.enforced?.generation).toBe(1);
  reported = [];
  return engine;
}

describe("I4: what can cut the node off is undone unless it is confirmed", () => {
  it("is enforced, and told so, only when it is confirmed; the try record is gone then", async () => {
    const engine = await enforceFirst({ value: "256" });
    await engine.accept(planOf(2, { value: "512" }));
    await engine.apply(never);
    expect([engine.unconfirmed?.generation, engine.journal.enforced?.generation, finished()]).toEqual([2, 1, []]);
    await engine.confirm({ planEpoch: 1, generation: 1 });
    expect(engine.unconfirmed?.generation).toBe(2);
    await engine.confirm({ planEpoch: 1, generation: 2 });
    await engine.apply(never);
    expect([engine.journal.enforced?.generation, host.kernel.value(NET)]).toEqual([2, "512"]);
    expect(await state.readFile(TRY_RECORD_FILE)).toBeUndefined();
  });

  it("goes back to what is enforced at the deadline, is rejected, and never tried again (I2)", async () => {
    const engine = await enforceFirst({ value: "256", image: "a" });
    const second = planOf(2, { value: "512", image: "b" });
    await engine.accept(second);
    await engine.apply(never);
    await clock.advance(DEADLINE_MS - 1);
    expect(await engine.msUntilUndo()).toBe(1);
    await clock.advance(1);
    expect(await engine.msUntilUndo()).toBe(0);
    await engine.undo(never);
    expect(host.kernel.value(NET)).toBe("256");
    expect((await host.files.read(SETTINGS))?.toString()).toContain('"a"');
    expect(finished()).toMatchObject([{ outcome: PlanOutcome.PLAN_OUTCOME_REJECTED, reason: "NotConfirmed" }]);
    expect(await engine.accept(second)).toMatchObject({ outcome: "refused", reason: "OldGeneration" });
    host.effects.clear();
    await engine.apply(never);
    expect([host.effects.all, engine.journal.rejectedGeneration, await engine.msUntilUndo()]).toEqual([[], 2, undefined]);
  });

  it("goes back to what was there where nothing was enforced", async () => {
    const engine = await start();
    await engine.accept(planOf(1, { value: "512", image: "a" }));
    await engine.apply(never);
    await clock.advance(DEADLINE_MS);
    await engine.undo(never);
    expect([host.kernel.value(NET), await host.files.read(SETTINGS)]).toEqual(["128", undefined]);
  });

  it("asks before what takes long, so that pulling for hours undoes nothing; what comes after is confirmed by itself", async () => {
    const pulled = { registry: { [`r.example/a@${DIGEST}`]: 1000 } };
    host = fakeHost({ sysctls: { [NET]: "128" }, containerd: pulled });
    host.kernel.countUptime(() => clock.monotonicMs());
    const engine = await start();
    const images = { images: [{ name: "r.example/a:1", digest: DIGEST }] };
    const plan = Plan.decode(planOf(1, { value: "512" }));
    plan.steps.push(
      Step.fromPartial({ id: "images", spec: { $case: "images", value: images } }),
      Step.fromPartial({ id: "containerd", spec: { $case: "containerd", value: { sandboxImage: "b" } } }),
    );
    await engine.accept(Buffer.from(Plan.encode(plan).finish()));
    await engine.apply(never);
    expect([engine.unconfirmed?.generation, engine.journal.accepted?.done]).toEqual([1, ["sysctl"]]);
    await engine.confirm({ planEpoch: 1, generation: 1 });
    await engine.apply(never);
    // Only what came after the images is tried now.
    expect([engine.unconfirmed?.generation, engine.journal.accepted?.done]).toEqual([1, ["sysctl", "images", "containerd"]]);
    await clock.advance(DEADLINE_MS);
    await engine.undo(never);
    expect([finished(), host.kernel.value(NET), await host.files.read(SETTINGS)]).toMatchObject([
      [{ reason: "NotConfirmed" }],
      "512",
      undefined,
    ]);
  });

  it("a step that still runs at the deadline is not waited for: it ends, and all is undone", async () => {
    await enforceFirst({ value: "256", image: "a" });
    const steps = fakeSteps();
    let isWaiting = (): void => undefined;
    const waiting = new Promise<void>((resolve) => (isWaiting = resolve));
    const containerd: typeof steps.containerd = {
      ...steps.containerd,
      apply: async (spec, changes, context) => {
        await steps.containerd.apply(spec, changes, context);
        if (context.isUndo === true) return;
        isWaiting();
        await new Promise((_resolve, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason as Error)));
      },
    };
    const engine = await start(noFailpoint, { ...steps, containerd });
    await engine.accept(planOf(2, { value: "512", image: "b" }));
    const applying = engine.apply(never);
    await waiting;
    await clock.advance(DEADLINE_MS);
    await applying;
    expect(finished()).toEqual([]);
    expect(await engine.msUntilUndo()).toBe(0);
    await engine.undo(never);
    expect([host.kernel.value(NET), (await host.files.read(SETTINGS))?.toString()]).toEqual(["256", expect.stringContaining('"a"')]);
    expect(finished()).toMatchObject([{ outcome: PlanOutcome.PLAN_OUTCOME_REJECTED, reason: "NotConfirmed" }]);
  });

  it("what is cancelled is undone at once, not at its deadline, and rejected", async () => {
    const engine = await enforceFirst({ value: "256" });
    await engine.accept(planOf(2, { value: "512" }));
    await engine.apply(never);
    engine.cancel({ planEpoch: 1, generation: 2 });
    await engine.apply(never);
    expect([finished(), await engine.msUntilUndo()]).toEqual([[], 0]);
    await engine.undo(never);
    expect([host.kernel.value(NET), engine.journal.rejectedGeneration]).toEqual(["256", 2]);
    expect(finished()).toMatchObject([{ outcome: PlanOutcome.PLAN_OUTCOME_REJECTED, reason: "Cancelled" }]);
    expect([engine.isCancelled, await engine.msUntilUndo()]).toEqual([false, undefined]);
  });

  it("needs no word for what cannot cut it off", async () => {
    const engine = await start();
    await engine.accept(planOf(1, {}));
    await engine.apply(never);
    expect([engine.unconfirmed, engine.journal.enforced?.generation]).toEqual([undefined, 1]);
  });

  it("a newer plan takes over; undone, it is as before the first unconfirmed change", async () => {
    const engine = await enforceFirst({ value: "256" });
    await engine.accept(planOf(2, { value: "512" }));
    await engine.apply(never);
    await clock.advance(DEADLINE_MS / 2);
    await engine.accept(planOf(3, { value: "1024" }));
    await engine.apply(never);
    expect([engine.unconfirmed?.generation, await engine.msUntilUndo()]).toEqual([3, DEADLINE_MS]);
    await clock.advance(DEADLINE_MS);
    await engine.undo(never);
    expect([host.kernel.value(NET), engine.journal.rejectedGeneration]).toEqual(["256", 3]);
  });

  it("what cannot be verified is told as UndoFailed and undone later; no confirmation counts any more", async () => {
    const engine = await enforceFirst({ value: "256" });
    await engine.accept(planOf(2, { value: "512" }));
    await engine.apply(never);
    host.kernel.ignoreWrites(NET);
    await clock.advance(DEADLINE_MS);
    await engine.undo(never);
    expect(finished()).toEqual([]);
    expect(engine.conditions).toContainEqual(expect.objectContaining({ type: "UndoFailed", status: "True" }));
    await engine.confirm({ planEpoch: 1, generation: 2 });
    expect(await engine.msUntilUndo()).toBe(0);
    host.kernel.set(NET, "256");
    await engine.undo(never);
    expect(finished()).toMatchObject([{ reason: "NotConfirmed" }]);
    expect(engine.conditions).toContainEqual(expect.objectContaining({ type: "UndoFailed", status: "False" }));
  });

  it("another boot finds the files as they were, whatever the clock says; the agent verifies and rejects", async () => {
    await host.files.write(SETTINGS, "of others", 0o640);
    const engine = await start();
    await engine.accept(planOf(1, { image: "b" }));
    await engine.apply(never);
    expect(await preseed(state, host)).toBeUndefined();
    state.crash();
    host.kernel.reboot("00000000-0000-4000-8000-000000000002");
    expect(await preseed(state, host)).toEqual([SETTINGS]);
    expect([(await host.files.read(SETTINGS))?.toString(), (await host.files.stat(SETTINGS))?.mode]).toEqual(["of others", 0o640]);
    expect(await preseed(state, host)).toBeUndefined();
    const again = await start();
    expect(await again.msUntilUndo()).toBe(0);
    await again.undo(never);
    expect([finished(), (await host.files.read(SETTINGS))?.toString()]).toMatchObject([[{ reason: "BootedUnconfirmed" }], "of others"]);
  });

  it("a boot while it is being undone does not excuse a change that was not confirmed", async () => {
    const engine = await enforceFirst({ value: "256" });
    await engine.accept(planOf(2, { value: "512" }));
    await engine.apply(never);
    host.kernel.ignoreWrites(NET);
    await clock.advance(DEADLINE_MS);
    await engine.undo(never);
    expect(finished()).toEqual([]);
    state.crash();
    host.kernel.reboot("00000000-0000-4000-8000-000000000002");
    host.kernel.set(NET, "256");
    await preseed(state, host);
    const again = await start();
    await again.undo(never);
    expect(finished()).toMatchObject([{ outcome: PlanOutcome.PLAN_OUTCOME_REJECTED, reason: "NotConfirmed" }]);
  });

  const onTheWay = failpointNames.filter((name) => !/drift|compacted/.test(name)).flatMap((name) => [1, 2].map((k) => `${name}:${k}`));
  it.each(onTheWay)("killed at %s and found after the deadline: undone and rejected, or as it was", async (setting) => {
    await enforceFirst({ value: "256", image: "a" });
    const engine = await start(
      failpointFrom(setting, () => {
        throw new FakeCrash();
      }),
    );
    const second = planOf(2, { value: "512", image: "b" });
    await engine
      .accept(second)
      .then(() => engine.apply(never))
      .catch((error: unknown) => expect(error).toBeInstanceOf(FakeCrash));
    state.crash();
    await clock.advance(DEADLINE_MS);
    const again = await start();
    await again.accept(second);
    if ((await again.msUntilUndo()) === undefined) {
      // Nothing was tried before it died: it is now, in time.
      expect(host.kernel.value(NET)).toBe("256");
      await again.apply(never);
      await clock.advance(DEADLINE_MS);
    }
    await again.undo(never);
    expect([host.kernel.value(NET), again.journal.enforced?.generation, again.journal.rejectedGeneration]).toEqual(["256", 1, 2]);
    expect((await host.files.read(SETTINGS))?.toString()).toContain('"a"');
  });
});
