import { silentLog, VirtualClock } from "@drover/lifecycle";
import { Plan, type Progress, RunRung } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { type FakeHost, fakeHost, type FakeHostOptions } from "../fake/index.ts";
import { OutputRing } from "../report/output-ring.ts";
import { MemoryStateDirectory } from "../state/index.ts";
import { imagesStep } from "../steps/images/images-step.ts";
import { emptyJournal, type JournalState } from "./journal-state.ts";
import type { RungEnd } from "./rung-book.ts";
import { Rungs } from "./rungs.ts";
import { Turns } from "./turns.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const never = new AbortController().signal;

/** One node's agent, as often as it is started, on one machine. */
class Node {
  readonly clock = new VirtualClock();
  readonly state = new MemoryStateDirectory();
  readonly turns = new Turns(this.clock);
  readonly told: Progress[] = [];
  readonly host: FakeHost;
  isInChange = false;
  journal: JournalState = emptyJournal;
  #stop = new AbortController();
  #ended: Promise<void> = Promise.resolve();
  #rungs: Rungs | undefined;

  constructor(options: FakeHostOptions = {}) {
    this.host = fakeHost(options);
  }

  async start(): Promise<void> {
    this.#stop = new AbortController();
    this.#rungs = await Rungs.open({
      host: this.host,
      clock: this.clock,
      state: this.state.session(),
      turns: this.turns,
      journal: () => this.journal,
      imagesStep,
      output: await OutputRing.open(this.state.session()),
      showProgress: (each) => void this.told.push(each),
      isInChange: () => Promise.resolve(this.isInChange),
      log: silentLog,
    });
    this.#ended = this.#rungs.run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("the agent stops"));
    await this.clock.advance(1);
    await this.#ended;
  }

  async kill(): Promise<void> {
    this.host.effects.revive();
    this.state.crash();
    await this.stop();
  }

  /** The answers so far, to be looked at when time has passed. */
  ask(requestId: string, rung: RunRung["rung"], onAnswer: (end: RungEnd) => Promise<void> = () => Promise.resolve()) {
    const answers: (RungEnd | Error)[] = [];
    this.#rungs!.ask(RunRung.create({ requestId, rung }), (end) => {
      answers.push(end);
      return onAnswer(end);
    }).catch((error: unknown) => answers.push(error as Error));
    return answers;
  }

  enforce(): void {
    const images = [{ name: "r.test/team/app:1", digest: DIGEST, sizeBytes: 1000, pinned: true, archive: "" }];
    const plan = Plan.fromPartial({ generation: 4, steps: [{ id: "images", spec: { $case: "images", value: { images } } }] });
    const kept = { planEpoch: 1, generation: 4, plan: Buffer.from(Plan.encode(plan).finish()).toString("base64") };
    this.journal = { ...emptyJournal, enforced: kept };
  }
}

const restart = (...units: string[]): RunRung["rung"] => ({ $case: "restartUnits", value: { units } });
const REPULL: RunRung["rung"] = { $case: "repull", value: {} };
const REBOOT: RunRung["rung"] = { $case: "reboot", value: {} };

describe("RestartUnits", () => {
  it("restarts each, sees it active, and does the same request once, also asked again after the agent's end", async () => {
    const node = new Node();
    await node.start();
    const answers = node.ask("r1", restart("containerd.service", "kubelet.service"));
    await node.clock.advance(20_000);
    const end = { done: true, reason: "", message: "restarted and active: containerd.service, kubelet.service" };
    expect(answers).toEqual([end]);
    const again = node.ask("r1", restart("containerd.service", "kubelet.service"));
    await node.clock.advance(1);
    await node.stop();
    await node.start();
    const later = node.ask("r1", restart("containerd.service", "kubelet.service"));
    await node.clock.advance(1);
    expect([again, later]).toEqual([[end], [end]]);
    expect(node.host.effects.of("units.restart").map(({ target }) => target)).toEqual(["containerd.service", "kubelet.service"]);
    const other = node.ask("r1", REPULL);
    await node.clock.advance(1);
    expect(other).toMatchObject([{ done: false, reason: "RequestIdTaken" }]);
    await node.stop();
  });

  it("says which unit does not stay active, and which systemctl could not restart", async () => {
    const node = new Node({
      onRestart: (unit, { units }) => {
        // Active for one look, as a program is that fails at once.
        if (unit === "kubelet.service") node.clock.setTimer(500, () => units.setActive(unit, false));
        if (unit === "crio.service") throw new Error("Unit crio.service not found.");
      },
    });
    await node.start();
    const failing = node.ask("r1", restart("kubelet.service"));
    await node.clock.advance(120_000);
    const absent = node.ask("r2", restart("crio.service"));
    await node.clock.advance(10_000);
    expect(failing).toMatchObject([{ done: false, reason: "NotActive", message: expect.stringContaining("kubelet.service") }]);
    expect(absent).toMatchObject([{ done: false, reason: "RestartFailed", message: "Unit crio.service not found." }]);
    await node.stop();
  });

  it.each(["drover-agent.service", "dbus.service", "systemd-networkd.service", "--now", "a/b.service", "kubelet", "kubelet.socket", ""])(
    "restarts nothing when one of the units is %j",
    async (unit) => {
      const node = new Node();
      await node.start();
      const answers = node.ask("r1", restart("kubelet.service", unit));
      await node.clock.advance(1);
      expect(answers).toMatchObject([{ done: false, reason: "UnitNotAllowed" }]);
      expect(node.host.effects.all).toEqual([]);
      await node.stop();
    },
  );

  it("is done again when the agent died in it, and once when two sessions ask at the same time", async () => {
    const node = new Node();
    await node.start();
    node.host.effects.crashAfter(0);
    const cut = node.ask("r1", restart("kubelet.service"));
    await node.clock.advance(1);
    await node.kill();
    await node.start();
    const [one, two] = [node.ask("r1", restart("kubelet.service")), node.ask("r1", restart("kubelet.service"))];
    await node.clock.advance(20_000);
    expect(cut[0]).toBeInstanceOf(Error);
    expect([one, two]).toMatchObject([[{ done: true }], [{ done: true }]]);
    expect(node.host.effects.of("units.restart").length).toBe(1);
    await node.stop();
  });
});

describe("a rung", () => {
  it("is Busy while a plan is applied or another has the turn, is not remembered as that, and tells that it lives", async () => {
    const node = new Node();
    await node.start();
    node.isInChange = true;
    const inPlan = node.ask("r1", restart("kubelet.service"));
    await node.clock.advance(1);
    expect(inPlan).toMatchObject([{ done: false, reason: "Busy" }]);
    node.isInChange = false;
    const scan = Promise.withResolvers<void>();
    const scanning = node.turns.hold(never, () => scan.promise);
    const inScan = node.ask("r1", restart("kubelet.service"));
    await node.clock.advance(29_000);
    expect(inScan).toEqual([]);
    await node.clock.advance(2_000);
    expect(inScan).toMatchObject([{ done: false, reason: "Busy" }]);
    expect(node.host.effects.all).toEqual([]);
    scan.resolve();
    await scanning;
    const after = node.ask("r1", restart("kubelet.service"));
    await node.clock.advance(1);
    // A plan that comes meanwhile waits for the rung.
    let isApplied = false;
    void node.turns.hold(never, async () => void (isApplied = true));
    await node.clock.advance(1_000);
    expect([after, isApplied]).toEqual([[], false]);
    await node.clock.advance(20_000);
    expect([after, isApplied]).toMatchObject([[{ done: true }], true]);
    await node.stop();
  });

  it("tells progress at least every 20 s, or the coordinator would close the session", async () => {
    const node = new Node({ onRestart: (unit, { units }) => void node.clock.setTimer(0, () => units.setActive(unit, false)) });
    await node.start();
    node.ask("r1", restart("kubelet.service"));
    await node.clock.advance(50_000);
    expect(node.told.map(({ step, item }) => [step, item])).toEqual([
      ["repair", "restartUnits"],
      ["repair", "restartUnits"],
    ]);
    await node.stop();
  });

  it("keeps the newest 32 requests, whatever is asked", async () => {
    const node = new Node();
    await node.start();
    for (let index = 0; index < 40; index += 1) {
      node.ask(`r${index}`, restart("kubelet.service"));
      await node.clock.advance(5_000);
    }
    const book = JSON.parse((await node.state.session().readFile("rungs.json"))!.toString()) as { requestId: string }[];
    expect(book.map(({ requestId }) => requestId)).toEqual(Array.from({ length: 32 }, (_, index) => `r${index + 8}`));
    await node.stop();
  });
});

describe("Repull", () => {
  it("brings back what is damaged and what is absent, and pulls nothing that is whole", async () => {
    const node = new Node({ containerd: { registry: { [`r.test/team/app@${DIGEST}`]: 1000 } } });
    node.enforce();
    await node.start();
    const absent = node.ask("r1", REPULL);
    await node.clock.advance(20_000);
    expect(absent).toEqual([{ done: true, reason: "", message: "0 damaged blobs removed, 1 images brought back" }]);
    const whole = node.ask("r2", REPULL);
    await node.clock.advance(20_000);
    expect(whole).toEqual([{ done: true, reason: "", message: "0 damaged blobs removed, 0 images brought back" }]);
    node.host.containerd.damage(DIGEST);
    const damaged = node.ask("r3", REPULL);
    await node.clock.advance(20_000);
    expect(damaged).toEqual([{ done: true, reason: "", message: "1 damaged blobs removed, 1 images brought back" }]);
    expect(node.host.effects.of("containerd.pull").length).toBe(2);
    expect(node.told.some(({ step, item }) => step === "images" && item === "reading back")).toBe(true);
    await node.stop();
  });

  it("says why nothing was brought back", async () => {
    const node = new Node();
    await node.start();
    const none = node.ask("r1", REPULL);
    await node.clock.advance(1);
    node.enforce();
    const gone = node.ask("r2", REPULL);
    await node.clock.advance(20_000);
    expect(none).toMatchObject([{ done: false, reason: "NothingEnforced" }]);
    expect(gone).toMatchObject([{ done: false, reason: "PullFailed", message: expect.stringContaining("not found") }]);
    await node.stop();
  });
});

describe("Reboot", () => {
  it("answers, then reboots once, and is done when the machine has booted since", async () => {
    const node = new Node();
    await node.start();
    const answers = node.ask("r1", REBOOT);
    await node.clock.advance(500);
    expect(answers).toEqual([{ done: true, reason: "", message: "rebooting" }]);
    expect(node.host.effects.all).toEqual([]);
    const meanwhile = node.ask("r1", REBOOT);
    await node.clock.advance(5_000);
    expect(meanwhile).toEqual(answers);
    expect(node.host.effects.summary).toEqual(["units.reboot "]);
    await node.kill();
    node.host.kernel.reboot("00000000-0000-4000-8000-000000000002");
    await node.start();
    const after = node.ask("r1", REBOOT);
    await node.clock.advance(5_000);
    expect(after).toEqual([{ done: true, reason: "", message: "the machine has booted since" }]);
    expect(node.host.effects.of("units.reboot").length).toBe(1);
    await node.stop();
  });

  it("does not go down when the answer could not be sent, and does when it is asked again", async () => {
    const node = new Node();
    await node.start();
    node.ask("r1", REBOOT, () => Promise.reject(new Error("the session broke")));
    await node.clock.advance(5_000);
    expect(node.host.effects.all).toEqual([]);
    node.ask("r1", REBOOT);
    await node.clock.advance(5_000);
    expect(node.host.effects.summary).toEqual(["units.reboot "]);
    await node.stop();
  });

  it("is refused where systemd does not run and while kubeadm does, and remembers that systemctl failed", async () => {
    const node = new Node();
    await node.start();
    node.host.units.canRebootNow = false;
    const cannot = node.ask("r1", REBOOT);
    await node.clock.advance(1);
    expect(cannot).toMatchObject([{ done: false, reason: "Unsupported" }]);
    node.host.units.canRebootNow = true;
    const job = { kind: "join", unit: "drover-kubeadm-join-1.service", bootId: await node.host.kernel.bootId() };
    await node.state.session().writeFile("memory-kubeadm.json", Buffer.from(JSON.stringify({ job })));
    const order = { unit: job.unit, description: "", program: "/k", args: [], outputFile: "/o", runtimeMaxMs: 1 };
    await node.host.transientUnits.start(order, never);
    const joining = node.ask("r1", REBOOT);
    await node.clock.advance(1);
    expect(joining).toMatchObject([{ done: false, reason: "Busy", message: expect.stringContaining("kubeadm") }]);
    node.host.transientUnits.end(job.unit, { exitCode: 0 });
    node.host.effects.fail("units.reboot", new Error("systemctl reboot ended with 1: Access denied"));
    node.ask("r1", REBOOT);
    await node.clock.advance(5_000);
    const after = node.ask("r1", REBOOT);
    await node.clock.advance(5_000);
    expect(after).toMatchObject([{ done: false, reason: "RebootFailed", message: expect.stringContaining("Access denied") }]);
    await node.stop();
  });
});
