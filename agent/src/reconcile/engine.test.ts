import { silentLog, VirtualClock } from "@drover/lifecycle";
import { type Event, Impact, Plan, PlanOutcome } from "@drover/proto";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeCrash, type FakeHost, fakeHost, fakeSteps } from "../fake/index.ts";
import type { ProbeAnswer } from "../host/probe-port.ts";
import { MemoryStateDirectory } from "../state/index.ts";
import { StepError } from "../steps/step.ts";
import { Engine } from "./engine.ts";
import { defaultStepDeadlineMs, type StepTable } from "./engine-parts.ts";
import { type Failpoint, failpointFrom, noFailpoint } from "./failpoints.ts";
import { Journal } from "./journal.ts";
import { stepMemory } from "./memory.ts";
import { noCredentials } from "../steps/step.ts";

const NODE = "abcdefghij";
const DIGEST = `sha256:${"a".repeat(64)}`;
const never = new AbortController().signal;

function planOf(generation: number, parts: Partial<Plan> = {}): Buffer {
  return Buffer.from(
    Plan.encode(
      Plan.fromPartial({
        nodeId: NODE,
        planEpoch: 1,
        generation,
        revision: `sha256:${generation}`,
        impactBound: Impact.IMPACT_RESTART,
        steps: [
          { id: "sysctl", spec: { $case: "sysctl", value: { values: { "vm.swappiness": "10", "net.core.somaxconn": "4096" } } } },
          { id: "containerd", spec: { $case: "containerd", value: { sandboxImage: `pause:${generation}` } } },
          { id: "images", spec: { $case: "images", value: { images: [{ name: "r.example/a:1", digest: DIGEST }] } } },
        ],
        ...parts,
      }),
    ).finish(),
  );
}

let clock: VirtualClock;
let state: MemoryStateDirectory;
let host: FakeHost;
/** What is durable in the outbox, over all lives. */
let reported: Event[];
let noted: Event[];

beforeEach(() => {
  clock = new VirtualClock();
  state = new MemoryStateDirectory();
  reported = [];
  noted = [];
  host = fakeHost({
    sysctls: { "vm.swappiness": "60", "net.core.somaxconn": "128" },
    containerd: { registry: { [`r.example/a@${DIGEST}`]: 1000 } },
  });
});

async function start(parts: { steps?: StepTable; failpoint?: Failpoint } = {}): Promise<Engine> {
  const life = state.session();
  const failpoint = parts.failpoint ?? noFailpoint;
  return Engine.open({
    nodeId: NODE,
    host,
    steps: parts.steps ?? fakeSteps(),
    state: life,
    journal: await Journal.open(life, failpoint),
    reporter: {
      async record(events) {
        host.effects.assertAlive();
        reported.push(...events);
      },
      note: (events) => void noted.push(...events),
    },
    output: {
      begin: () => ({ say: () => undefined, finish: async () => ({ tail: "", digest: Buffer.alloc(0), heldBytes: 0 }) }),
    },
    showProgress: () => undefined,
    credentials: noCredentials,
    clock,
    log: silentLog,
    failpoint,
    stepDeadlineMs: defaultStepDeadlineMs,
  });
}

const bodies = (): string[] => reported.map((event) => event.body?.$case ?? "");
const results = (): string[] =>
  reported.flatMap(({ body }) =>
    body?.$case === "stepResult" ? [`${body.value.step} ${body.value.outcome} ${body.value.reason}`.trim()] : [],
  );
const lastFinished = (): unknown => reported.map((event) => event.body).findLast((body) => body?.$case === "planFinished")?.value;

describe("probes of a plan", () => {
  const probes = [{ name: "kubelet", target: { $case: "httpUrl" as const, value: "http://127.0.0.1:10248/healthz" }, timeoutMs: 500 }];
  const told = (): string[] =>
    noted.flatMap(({ generation, body }) =>
      body?.$case === "condition" && body.value.type.startsWith("Probe-")
        ? [`${generation}: ${body.value.type} ${body.value.status} ${body.value.reason}`]
        : [],
    );
  let answer: ProbeAnswer;

  beforeEach(() => {
    answer = { isPassed: true };
    host = fakeHost({
      sysctls: { "vm.swappiness": "60", "net.core.somaxconn": "128" },
      containerd: { registry: { [`r.example/a@${DIGEST}`]: 1000 } },
      probe: () => answer,
    });
  });

  it("are told after every change, also where their answer is no news, and after that only as news", async () => {
    const engine = await start();
    for (const generation of [1, 2]) {
      await engine.accept(planOf(generation, { probes }));
      await engine.apply(never);
    }
    expect(told().filter((line) => line.startsWith("1: "))).toContain("1: Probe-kubelet 1 Answered");
    expect(told().filter((line) => line.startsWith("2: "))).toEqual(["2: Probe-kubelet 1 Answered"]);
    noted = [];
    await engine.scan(never);
    expect(told()).toEqual([]);
    answer = { isPassed: false, reason: "HttpStatus", message: "503" };
    await engine.scan(never);
    expect(told()).toEqual(["2: Probe-kubelet 2 HttpStatus"]);
  });

  it("are told by the next scan of an agent that was killed before it could ask", async () => {
    const engine = await start();
    await engine.accept(planOf(1, { probes }));
    await engine.apply(never);
    noted = [];
    await (await start()).scan(never);
    expect(told()).toEqual(["1: Probe-kubelet 1 Answered"]);
  });

  it("leave the book with the plan that named them", async () => {
    const engine = await start();
    await engine.accept(planOf(1, { probes }));
    await engine.apply(never);
    noted = [];
    await engine.accept(planOf(2));
    await engine.apply(never);
    expect(told()).toEqual(["2: Probe-kubelet 3 NotManaged"]);
    expect(engine.conditions.filter(({ type }) => type.startsWith("Probe-"))).toEqual([]);
  });

  it("do not keep a newer plan waiting while they fail", async () => {
    answer = { isPassed: false, reason: "ConnectionRefused", message: "nothing listens there" };
    const engine = await start();
    await engine.accept(planOf(1, { probes }));
    const applying = engine.apply(never);
    await clock.advance(1_000);
    await engine.accept(planOf(2));
    await clock.advance(4_000);
    await applying;
    expect(clock.monotonicMs()).toBeLessThan(30_000);
    expect(told()).toContain("1: Probe-kubelet 2 ConnectionRefused");
  });
});

describe("I1: a step runs only when its plan is for this node, whole and not expired", () => {
  it.each([
    ["WrongNode", planOf(1, { nodeId: "bbbbbbbbbb" })],
    ["Expired", planOf(1, { expiresAtMs: Date.UTC(2025, 0, 1) })],
    ["UnknownField", Buffer.concat([planOf(1), Buffer.from([0xf8, 0x3e, 1])])],
    ["InvalidPlan", planOf(0)],
    ["InvalidPlan", Buffer.from([0xff])],
    ["InvalidPlan", planOf(1, { steps: [{ id: "../x", spec: { $case: "sysctl", value: { values: {} } } }] })],
  ])("refuses it as %s, reports that, and the machine is untouched", async (reason, bytes) => {
    const engine = await start();
    expect(await engine.accept(bytes)).toMatchObject({ outcome: "refused", reason });
    await engine.apply(never);
    expect(reported).toMatchObject([{ body: { $case: "planRefused", value: { reason } } }]);
    expect(host.effects.all).toEqual([]);
    expect(engine.journal.accepted).toBeUndefined();
  });

  it("lets expiry limit the first acceptance only, never enforcement after a restart", async () => {
    const bytes = planOf(1, { expiresAtMs: clock.now() + 1000 });
    expect(await (await start()).accept(bytes)).toMatchObject({ outcome: "accepted" });
    await clock.advance(5000);
    state.crash();
    const engine = await start();
    expect(await engine.accept(bytes)).toMatchObject({ outcome: "known" });
    await engine.apply(never);
    expect(engine.journal.enforced?.generation).toBe(1);
  });
});

describe("I2: (plan epoch, generation) rises strictly and is durable before the first step", () => {
  it("refuses what is older, and other bytes under the same pair, also after a restart", async () => {
    let engine = await start();
    await engine.accept(planOf(5));
    for (let life = 0; life < 2; life += 1) {
      expect(await engine.accept(planOf(4))).toMatchObject({ outcome: "refused", reason: "OldGeneration" });
      expect(await engine.accept(planOf(5, { revision: "other" }))).toMatchObject({ outcome: "refused", reason: "EpochConflict" });
      expect(await engine.accept(planOf(5))).toMatchObject({ outcome: "known" });
      state.crash();
      engine = await start();
    }
    expect(await engine.accept(planOf(1, { planEpoch: 2 }))).toMatchObject({ outcome: "accepted" });
    expect(await engine.accept(planOf(6))).toMatchObject({ outcome: "refused", reason: "OldGeneration" });
  });

  it("keeps enforcing the last confirmed plan while a newer one has failed", async () => {
    const engine = await start();
    await engine.accept(planOf(1));
    await engine.apply(never);
    await engine.accept(planOf(2, { steps: [{ id: "sysctl", spec: { $case: "sysctl", value: { values: { "no.such": "1" } } } }] }));
    await engine.apply(never);
    expect(lastFinished()).toMatchObject({ reason: "NoSuchKey", failedStep: "sysctl" });
    expect(engine.journal).toMatchObject({ accepted: { generation: 2 }, enforced: { generation: 1 } });
  });
});

describe("I2: a plan whose change was undone is rejected", () => {
  it("it is never tried again, and what it changed before goes back to what is enforced, also after a restart", async () => {
    const steps = fakeSteps();
    const undoing: StepTable = {
      ...steps,
      containerd: {
        ...steps.containerd,
        async apply(spec, changes, context) {
          if (spec.sandboxImage === "pause:2") throw new StepError("CriNotAnswering", "all is back as it was", false, true);
          await steps.containerd.apply(spec, changes, context);
        },
      },
    };
    let engine = await start({ steps: undoing });
    await engine.accept(planOf(1));
    await engine.apply(never);
    const second = Plan.decode(planOf(2));
    second.steps[0]!.spec = { $case: "sysctl", value: { values: { "vm.swappiness": "20" } } };
    const bytes = Buffer.from(Plan.encode(second).finish());
    await engine.accept(bytes);
    await engine.apply(never);
    expect(lastFinished()).toMatchObject({
      outcome: PlanOutcome.PLAN_OUTCOME_REJECTED,
      reason: "CriNotAnswering",
      failedStep: "containerd",
    });
    expect(await host.kernel.readSysctl("vm.swappiness")).toBe("20");
    state.crash();
    engine = await start({ steps: undoing });
    expect(engine.journal).toMatchObject({ rejectedGeneration: 2, enforced: { generation: 1 } });
    const told = results().length;
    await engine.apply(never);
    expect(results().length).toBe(told);
    await engine.scan(never);
    expect(await host.kernel.readSysctl("vm.swappiness")).toBe("10");
    expect(await engine.accept(bytes)).toMatchObject({ outcome: "refused", reason: "OldGeneration" });
    expect(await engine.accept(planOf(3))).toMatchObject({ outcome: "accepted" });
  });
});

describe("a plan", () => {
  it("changes what differs once and finds nothing to do the next time", async () => {
    const engine = await start();
    await engine.accept(planOf(1));
    await engine.apply(never);
    expect(bodies()).toEqual(["planAccepted", "stepResult", "stepResult", "stepResult", "planFinished"]);
    expect(results()).toEqual(["sysctl 2", "containerd 2", "images 2"]);
    const effects = host.effects.all.length;
    await engine.accept(planOf(2, { steps: Plan.decode(planOf(1)).steps }));
    await engine.apply(never);
    expect(results().slice(3)).toEqual(["sysctl 1", "containerd 1", "images 1"]);
    expect(host.effects.all.length).toBe(effects);
  });

  it("is refused at the step whose real diff is above the approved impact, before anything of it is done", async () => {
    const engine = await start();
    await engine.accept(planOf(1, { impactBound: Impact.IMPACT_LIVE }));
    await engine.apply(never);
    expect(results()).toEqual(["sysctl 2", "containerd 3 ImpactExceeded"]);
    expect(lastFinished()).toMatchObject({ outcome: 3, reason: "ImpactExceeded", failedStep: "containerd" });
    expect(host.effects.of("units.restart")).toEqual([]);
    expect(engine.journal.accepted?.ending).toMatchObject({ isRetryable: false });
  });

  it("takes the machine out of its cluster before its own steps, and puts everything else back after them", async () => {
    const engine = await start();
    await engine.accept(planOf(1));
    await engine.apply(never);
    await stepMemory(state.session(), "kubeadm").set({ member: {} });
    await engine.accept(
      planOf(2, {
        steps: [{ id: "binaries", spec: { $case: "binaries", value: { binaries: [] } } }, ...Plan.decode(planOf(1)).steps.slice(1)],
      }),
    );
    const told = results().length;
    await engine.apply(never);
    expect(results().slice(told)).toEqual(["kubeadm 1", "binaries 1", "containerd 1", "images 1", "sysctl 2"]);
    expect(await stepMemory(state.session(), "kubeadm").get()).toBeUndefined();
  });

  it("that no longer names a kind puts back what that kind had changed", async () => {
    const engine = await start();
    await engine.accept(planOf(1));
    await engine.apply(never);
    await engine.accept(planOf(2, { steps: [] }));
    await engine.apply(never);
    expect(results().slice(3)).toEqual(["containerd 2", "sysctl 2"]);
    expect([host.kernel.value("vm.swappiness"), host.files.text("/etc/containerd/settings.json")]).toEqual(["60", undefined]);
    await engine.accept(planOf(3, { steps: [] }));
    await engine.apply(never);
    expect(results().length).toBe(5);
  });

  it("tries a retryable failure again from the failed step", async () => {
    const engine = await start();
    host.effects.fail("units.restart", new Error("no"), { times: 1 });
    await engine.accept(planOf(1));
    await engine.apply(never);
    expect(engine.journal.accepted).toMatchObject({ done: ["sysctl"], failures: 1, ending: { outcome: "failed", isRetryable: true } });
    await engine.apply(never);
    expect(results()).toEqual(["sysctl 2", "containerd 3 Bug", "containerd 2", "images 2"]);
  });

  it("is left after the running step when it is cancelled or superseded, and the new one begins", async () => {
    const steps = fakeSteps();
    let during: () => Promise<unknown> = async () => undefined;
    const engine = await start({
      steps: { ...steps, sysctl: { ...steps.sysctl, apply: async (...args) => void (await steps.sysctl.apply(...args), await during()) } },
    });
    during = async () => engine.cancel({ planEpoch: 1, generation: 1 });
    await engine.accept(planOf(1));
    await engine.apply(never);
    expect(results()).toEqual(["sysctl 2"]);
    expect(lastFinished()).toMatchObject({ outcome: 3, reason: "Cancelled" });
    host.kernel.set("vm.swappiness", "60");
    during = () => engine.accept(planOf(3));
    await engine.accept(planOf(2));
    await engine.apply(never);
    expect(engine.journal.enforced?.generation).toBe(3);
    expect(host.files.text("/etc/containerd/settings.json")).toContain("pause:3");
    expect(host.effects.of("units.restart").length).toBe(1);
  });

  it("fails a step that outlives its deadline, and dies when that step will not stop", async () => {
    const steps = fakeSteps();
    const hang = (stopsWhenTold: boolean): StepTable => ({
      ...steps,
      sysctl: {
        ...steps.sysctl,
        apply: (_spec, _changes, { signal }) =>
          new Promise((_resolve, reject) => {
            if (stopsWhenTold) signal.addEventListener("abort", () => reject(signal.reason as Error));
          }),
      },
    });
    const engine = await start({ steps: hang(true) });
    await engine.accept(planOf(1));
    const applied = engine.apply(never);
    await clock.advance(130_000);
    await applied;
    expect(results()).toEqual(["sysctl 3 DeadlineExceeded"]);
    const stuck = (await start({ steps: hang(false) })).apply(never);
    const died = expect(stuck).rejects.toThrow("went on 60000 ms");
    await clock.advance(200_000);
    await died;
  });

  it("that is being applied when the agent stops is finished at the step, and goes on at the next start", async () => {
    const stop = new AbortController();
    const steps = fakeSteps();
    const engine = await start({
      steps: { ...steps, sysctl: { ...steps.sysctl, apply: async (...args) => (stop.abort(), steps.sysctl.apply(...args)) } },
    });
    await engine.accept(planOf(1));
    await engine.apply(stop.signal);
    expect(engine.journal.accepted).toMatchObject({ done: ["sysctl"], ending: undefined });
    await (await start()).apply(never);
    expect(results()).toEqual(["sysctl 2", "containerd 2", "images 2"]);
  });
});

describe("drift", () => {
  async function enforced(): Promise<Engine> {
    const engine = await start();
    await engine.accept(planOf(1));
    await engine.apply(never);
    reported = [];
    host.effects.clear();
    return engine;
  }

  it("of impact live is repaired, verified and reported", async () => {
    const engine = await enforced();
    host.kernel.set("vm.swappiness", "99");
    await engine.scan(never);
    expect(host.kernel.value("vm.swappiness")).toBe("10");
    expect(reported).toMatchObject([{ body: { $case: "drift", value: { step: "sysctl", repaired: true } } }]);
  });

  it("I3: of a higher impact is only reported, once, and once more when it is gone", async () => {
    const engine = await enforced();
    host.files.put("/etc/containerd/settings.json", "other");
    await engine.scan(never);
    await engine.scan(never);
    expect(host.effects.all).toEqual([]);
    expect(reported).toMatchObject([{ body: { $case: "drift", value: { step: "containerd", repaired: false } } }]);
    expect(engine.conditions.find((held) => held.type === "InSync")).toMatchObject({ status: "False", reason: "Drifted" });
    host.files.put("/etc/containerd/settings.json", JSON.stringify({ sandboxImage: "pause:1" }));
    await engine.scan(never);
    expect(reported[1]).toMatchObject({ body: { value: { changes: [], repaired: true } } });
    expect(engine.conditions.find((held) => held.type === "InSync")).toMatchObject({ status: "True" });
  });

  it("is told of every step again when a plan is enforced, though nothing of it is news: gates believe nothing older", async () => {
    const engine = await start();
    await engine.accept(planOf(1));
    await engine.apply(never);
    noted = [];
    await engine.accept(planOf(2));
    await engine.apply(never);
    const told = noted.flatMap(({ generation, body }) => (body?.$case === "condition" ? [`${generation} ${body.value.type}`] : []));
    expect(engine.conditions.length).toBeGreaterThan(2);
    expect(new Set(told)).toEqual(new Set(engine.conditions.map(({ type }) => `2 ${type}`)));
  });

  it("is told by conditions only when they change", async () => {
    const engine = await enforced();
    noted = [];
    await engine.scan(never);
    await engine.scan(never);
    expect([...noted, ...reported]).toEqual([]);
  });

  it("is not repaired in what a newer, unenforced plan has touched", async () => {
    const engine = await enforced();
    const newer = { steps: [{ id: "s", spec: { $case: "sysctl" as const, value: { values: { "vm.swappiness": "20" } } } }] };
    host.effects.fail("kernel.writeSysctl", new Error("stop"), { target: "net.core.somaxconn", times: 9 });
    await engine.accept(planOf(2, newer));
    await engine.apply(never);
    host.effects.clear();
    await engine.scan(never);
    expect(host.effects.all).toEqual([]);
  });
});

describe("a dry run", () => {
  it("tells what each step would change, and does nothing", async () => {
    const engine = await start();
    const answer = await engine.dryRun(planOf(1), never);
    expect(answer.steps.map((step) => [step.step, step.changes.length])).toEqual([
      ["sysctl", 2],
      ["containerd", 1],
      ["images", 1],
    ]);
    expect([host.effects.all, reported, engine.journal.accepted]).toEqual([[], [], undefined]);
  });
});

describe("an agent killed at any point of two plans and a drift repair", () => {
  const work = [planOf(1), planOf(2, { steps: Plan.decode(planOf(2)).steps.slice(1) })];

  async function live(failpoint: Failpoint): Promise<void> {
    const engine = await start({ failpoint });
    for (const bytes of work) {
      await engine.accept(bytes);
      await engine.apply(never);
    }
    host.containerd.collect(DIGEST);
    await engine.scan(never);
  }

  const kills: Record<string, (k: number) => Failpoint> = {
    "failpoint passing": (k) => failpointFrom(`*:${k}`, () => host.effects.crash()),
    "effect on the machine": (k) => {
      host.effects.crashAfter(k - 1);
      return noFailpoint;
    },
  };

  it.each(Object.entries(kills))("resumes at the right step and ends in sync, for each %s", async (_name, arm) => {
    let points = 0;
    for (let k = 1; ; k += 1) {
      state = new MemoryStateDirectory();
      reported = [];
      host = fakeHost({
        sysctls: { "vm.swappiness": "60", "net.core.somaxconn": "128" },
        containerd: { registry: { [`r.example/a@${DIGEST}`]: 1000 } },
      });
      const died = await live(arm(k)).then(
        () => false,
        (error: unknown) => {
          expect(error).toBeInstanceOf(FakeCrash);
          return true;
        },
      );
      state.crash({ untrim: true });
      host.effects.revive();
      if (!died) break;
      points += 1;
      const acceptedBefore = (await start()).journal.accepted?.generation ?? 0;
      await (await start()).apply(never);
      expect((await start()).journal.accepted?.generation ?? 0).toBe(acceptedBefore);
      await live(noFailpoint);
      const { enforced } = (await start()).journal;
      expect(enforced?.generation).toBe(2);
      expect([host.kernel.value("vm.swappiness"), host.kernel.value("net.core.somaxconn")]).toEqual(["60", "128"]);
      expect(host.files.text("/etc/containerd/settings.json")).toContain("pause:2");
      expect(host.containerd.images.some((image) => image.name === "r.example/a:1")).toBe(true);
      // Nothing twice where that matters: one restart per change, one more only when killed between restart and record.
      expect(host.effects.of("units.restart").length).toBeLessThanOrEqual(3);
      for (const generation of [1, 2]) {
        const finished = reported.filter((event) => event.generation === generation && event.body?.$case === "planFinished");
        expect(finished.length).toBeGreaterThanOrEqual(1);
      }
      const changed = reported.filter(({ body }) => body?.$case === "stepResult" && body.value.step === "containerd");
      expect(changed.every(({ body }) => body?.$case === "stepResult" && body.value.outcome === 2)).toBe(true);
    }
    expect(points).toBeGreaterThanOrEqual(12);
  });
});
