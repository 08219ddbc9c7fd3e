/** A stolen coordinator speaks to a real agent on a real machine: what it may not do is refused whole, and told. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Event, Impact, Plan, type PlanAnswer, StepOutcome } from "@drover/proto";
import { readReports } from "../../coordinator/src/reportlog/report-count.ts";
import { openSqliteReportLog } from "../../coordinator/src/reportlog/sqlite-report-log.ts";
import type { DesiredNode } from "../../coordinator/src/records.ts";
import { keys } from "../../coordinator/src/store/keys.ts";
import { openSqliteStore } from "../../coordinator/src/store/sqlite-store.ts";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";
import {
  containerdStep,
  field,
  type PlanHead,
  planOf,
  rawStep,
  stepsWithUnknownField,
  sysctlStep,
  unknownField,
} from "./hostile/plan-bytes.ts";

const standIn = fileURLToPath(new URL("./hostile/coordinator-stand-in.ts", import.meta.url));
const apiVersion = "drover.dev/v1alpha1";
const HONEST = { "net.core.somaxconn": "4096", "net.ipv4.tcp_keepalive_time": "600" };
/** Live and allowed: only the plan around it is wrong, so that whatever slips through shows. */
const HARM = { "net.core.somaxconn": "77" };

interface HostilePlan {
  readonly title: string;
  readonly bytes: Buffer;
  readonly reason: string;
}

let site: Site;
let machine: LightMachine;
let before: string;
let plans: readonly HostilePlan[];
let answers: readonly PlanAnswer[];
let events: readonly Event[];

/** Whatever the three steps could have touched. */
async function fingerprint(): Promise<string> {
  const script = `find /etc/sysctl.d /etc/containerd -type f | sort | xargs sha256sum
    cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/tcp_keepalive_time
    ctr -n k8s.io images list -q | sort
    cat /run/supervisor/containerd.pid`;
  const result = await machine.run("sh", ["-c", script]);
  if (result.exitCode !== 0) throw new Error(result.stderr);
  return result.stdout;
}

/** @param enforced the exact bytes of the plan that the node has */
function hostilePlans(enforced: Buffer): readonly HostilePlan[] {
  const { nodeId, planEpoch, generation, revision } = Plan.decode(enforced);
  const nextPlan: PlanHead = { nodeId, planEpoch, generation: generation + 1, revision };
  const harm = sysctlStep(HARM);
  const withUnknown = stepsWithUnknownField(HARM);
  return [
    { title: "an unknown field at the top", bytes: Buffer.concat([planOf(nextPlan, harm), unknownField]), reason: "UnknownField" },
    ...Object.entries(withUnknown).map(([place, step]) => ({
      title: `an unknown field in a ${place}`,
      bytes: planOf(nextPlan, step),
      reason: "UnknownField",
    })),
    {
      title: "an unknown field in the second step, after a good one",
      bytes: planOf(nextPlan, harm, withUnknown["nested message"]!),
      reason: "UnknownField",
    },
    {
      title: "a step of a kind that is not known",
      bytes: planOf(nextPlan, harm, rawStep("shell", 900, Buffer.from("rm"))),
      reason: "UnknownField",
    },
    { title: "a step without a spec", bytes: planOf(nextPlan, harm, field(1, "sysctl-2")), reason: "UnknownField" },
    { title: "an impact that is not known", bytes: planOf({ ...nextPlan, impactBound: 9 as Impact }, harm), reason: "UnknownField" },
    { title: "bytes that are no plan", bytes: Buffer.from("\x0a\xffnot a plan"), reason: "InvalidPlan" },
    { title: "no bytes at all", bytes: Buffer.alloc(0), reason: "WrongNode" },
    { title: "an older generation", bytes: planOf({ ...nextPlan, generation: generation - 1 }, harm), reason: "OldGeneration" },
    {
      title: "an older epoch",
      bytes: planOf({ ...nextPlan, planEpoch: planEpoch - 1, generation: generation + 9 }, harm),
      reason: "OldGeneration",
    },
    { title: "the generation that it has, with other bytes", bytes: planOf({ ...nextPlan, generation }, harm), reason: "EpochConflict" },
    { title: "a generation far ahead", bytes: planOf({ ...nextPlan, generation: 2 ** 40 }, harm), reason: "InvalidPlan" },
    { title: "another node's plan", bytes: planOf({ ...nextPlan, nodeId: "abcdefghij" }, harm), reason: "WrongNode" },
    { title: "a plan that has expired", bytes: planOf({ ...nextPlan, expiresAtMs: Date.now() - 1000 }, harm), reason: "Expired" },
    {
      title: "two steps with one id",
      bytes: planOf(nextPlan, harm, { ...containerdStep({ sandboxImage: "evil" }), id: "sysctl" }),
      reason: "InvalidPlan",
    },
    {
      title: "two steps of one kind",
      bytes: planOf(nextPlan, harm, sysctlStep({ "net.core.somaxconn": "78" }, "sysctl-2")),
      reason: "InvalidPlan",
    },
    { title: "a step id that is a path", bytes: planOf(nextPlan, sysctlStep(HARM, "../../etc/passwd")), reason: "InvalidPlan" },
  ];
}

/** In order, and of its own form: an honest plan whose only step does more than was approved. */
function aboveTheBound(enforced: Buffer): Buffer {
  const { nodeId, planEpoch, generation, revision } = Plan.decode(enforced);
  const head = { nodeId, planEpoch, generation: generation + 1, revision, impactBound: Impact.IMPACT_LIVE };
  return planOf(head, sysctlStep(HONEST), containerdStep({ maxConcurrentDownloads: 9 }));
}

async function reportedEvents(): Promise<readonly Event[]> {
  const log = openSqliteReportLog(join(site.dataDirectory, "reports.db"));
  try {
    const found: Event[] = [];
    for await (const { batch } of readReports(log)) found.push(...batch.events);
    return found;
  } finally {
    await log.close();
  }
}

beforeAll(async () => {
  site = await Site.make({ intervals: { poll: "500ms" } });
  machine = await site.addMachine("victim", { role: "web" });
  // Twice, so that there is an older generation.
  await enforce({ "net.core.somaxconn": "4096" }, "web-1");
  await enforce(HONEST, "web-2");
  const plan = await enforcedPlan();
  plans = hostilePlans(plan);
  await site.coordinator.stop();
  before = await fingerprint();
  await beSpokenToBy([...plans.map(({ bytes }) => bytes), aboveTheBound(plan)]);
  await site.startCoordinator();
  events = await eventually("the agent's reports have come", 60_000, async () => {
    const all = await reportedEvents();
    return all.some(({ body }) => body?.$case === "stepResult" && body.value.reason === "ImpactExceeded") && all;
  });
}, 120_000);

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
});

async function enforce(values: Record<string, string>, rollout: string): Promise<void> {
  const manifest = await site.manifest(
    "honest",
    { apiVersion, kind: "NodeProfile", metadata: { name: "web" }, spec: { sysctl: { values } } },
    { apiVersion, kind: "NodeSet", metadata: { name: "web" }, spec: { selector: { matchLabels: { role: "web" } }, profile: "web" } },
  );
  await site.mustDrover(["apply", "-f", manifest]);
  await site.mustDrover(["rollout", "status", rollout, "--timeout", "30s"]);
}

/** Its exact bytes, as the coordinator has them in its store. */
async function enforcedPlan(): Promise<Buffer> {
  const store = openSqliteStore(join(site.dataDirectory, "store.db"));
  try {
    const { entries } = await store.list(keys.allDesired);
    const desired = JSON.parse(Buffer.from(entries[0]!.value).toString()) as DesiredNode;
    return Buffer.from(desired.plan, "base64");
  } finally {
    await store.close();
  }
}

async function beSpokenToBy(hostile: readonly Buffer[]): Promise<void> {
  const plansFile = join(site.bed.directory, "hostile.json");
  await writeFile(plansFile, JSON.stringify(hostile.map((bytes) => bytes.toString("base64"))));
  const logFile = join(site.bed.directory, "stand-in.log");
  const authority = join(site.dataDirectory, "ca");
  const spoken = await site.bed.spawn(nodeProgram, [standIn, authority, site.bed.address, "7443", plansFile], logFile);
  const ended = await Promise.race([
    spoken.ended,
    new Promise<string>((resolve) => {
      setTimeout(() => resolve("too late"), 30_000).unref();
    }),
  ]);
  const log = await spoken.log();
  if (ended !== 0) {
    await spoken.stop(0);
    throw new Error(
      `the stand-in ended with ${ended}: ${log}\n${(await machine.serviceLog("drover-agent")).split("\n").slice(-10).join("\n")}`,
    );
  }
  answers = log
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as PlanAnswer);
}

describe("I1, I2: a coordinator in wrong hands", () => {
  it("hears a refusal with its reason for every hostile plan", () => {
    const told = answers.slice(0, plans.length).map(({ accepted, reason }, index) => ({ title: plans[index]!.title, accepted, reason }));
    expect(told).toEqual(plans.map(({ title, reason }) => ({ title, accepted: false, reason })));
  });

  it("cannot keep each refusal from being reported to the true one", () => {
    const refusals = events.flatMap(({ body }) => (body?.$case === "planRefused" ? [body.value.reason] : []));
    expect(refusals).toEqual(plans.map(({ reason }) => reason));
  });

  it("cannot have a step run whose real impact is above what was approved", () => {
    expect(answers.at(-1)).toMatchObject({ accepted: true });
    const results = events.flatMap(({ body }) => (body?.$case === "stepResult" ? [body.value] : []));
    expect(results.at(-1)).toMatchObject({ step: "containerd", outcome: StepOutcome.STEP_OUTCOME_FAILED, reason: "ImpactExceeded" });
    expect(events.some(({ body }) => body?.$case === "planFinished" && body.value.reason === "ImpactExceeded")).toBe(true);
  });

  it("leaves the machine as it was: files, kernel values, images, containerd's process", async () => {
    expect(await fingerprint()).toBe(before);
  });
});
