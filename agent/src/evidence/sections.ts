/** What a bundle of evidence is made of: each file's name, and how its text is had. */
import type { Clock } from "@drover/lifecycle";
import { Plan, type StepDiff } from "@drover/proto";
import type { Host } from "../host/host.ts";
import { redact } from "../host/redact.ts";
import type { HeldCondition } from "../reconcile/conditions.ts";
import type { JournalState } from "../reconcile/journal-state.ts";

export interface EvidenceSource {
  readonly host: Host;
  readonly clock: Clock;
  readonly about: Readonly<Record<string, unknown>>;
  /** undefined: only the running agent knows. */
  readonly journal: JournalState | undefined;
  readonly conditions: readonly HeldCondition[];
  readonly enforcedPlan: Uint8Array | undefined;
  readonly dryRun: (
    plan: Uint8Array,
    signal: AbortSignal,
  ) => Promise<{ readonly steps: readonly StepDiff[]; readonly reason: string; readonly message: string }>;
  /** What a step said in its latest run; undefined: nothing is held, or only the running agent holds it. */
  readonly readOutput: (step: string) => Buffer | undefined;
}

export interface Section {
  /** In the archive. */
  readonly name: string;
  /** @throws saying why it cannot be had */
  readonly text: (signal: AbortSignal) => Promise<string>;
}

const JOURNALCTL = ["/usr/bin/journalctl", "/bin/journalctl"];
const UNITS = ["drover-agent.service", "containerd.service", "kubelet.service"];
const LINES = 2_000;
const ASK_TIMEOUT_MS = 12_000;
const PROC = ["meminfo", "loadavg", "uptime", "1/mounts"];
const DISKS = ["/", "/var/lib", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/drover-agent"];
const HEALTHZ = "http://127.0.0.1:10248/healthz";

export function sectionsOf(source: EvidenceSource): readonly Section[] {
  const { host, clock } = source;
  const plan = source.enforcedPlan === undefined ? undefined : Plan.decode(source.enforcedPlan);
  return [
    { name: "about.json", text: async () => json({ ...source.about, at: new Date(clock.now()).toISOString() }) },
    { name: "conditions.json", text: async () => json(source.conditions) },
    { name: "journal-state.json", text: async () => json(summaryOf(given(source.journal, "only the running agent knows its journal"))) },
    {
      name: "diff.json",
      text: async (signal) =>
        json(await source.dryRun(given(source.enforcedPlan, "no plan is enforced, or no agent runs that knows it"), signal)),
    },
    ...UNITS.map((unit) => ({ name: `journal/${unit}.txt`, text: (signal: AbortSignal) => journalOf(unit, host, signal) })),
    { name: "disks.txt", text: () => freeOn(host) },
    ...PROC.map((name) => ({
      name: `proc/${name.replace("1/", "")}.txt`,
      text: async () => given(await host.files.read(`/proc/${name}`), `there is no /proc/${name}`).toString(),
    })),
    {
      name: "containerd.txt",
      text: async (signal) => {
        const { isReady, message } = await host.containerd.criStatus(signal);
        return `version ${await host.containerd.version(signal)}\nCRI ${isReady ? "ready" : `not ready: ${message}`}\n`;
      },
    },
    { name: "images.json", text: async (signal) => json(await host.containerd.listCriImages(signal)) },
    { name: "kubelet-healthz.json", text: async (signal) => json(await host.probes.http(HEALTHZ, ASK_TIMEOUT_MS, signal)) },
    ...(plan?.steps ?? []).map(({ id }) => ({
      name: `steps/${id}.txt`,
      text: async () => given(source.readOutput(id), "nothing is held of what it said").toString(),
    })),
  ];
}

async function journalOf(unit: string, { commands }: Host, signal: AbortSignal): Promise<string> {
  const program = given(await commands.find(JOURNALCTL), `there is no journalctl at ${JOURNALCTL.join(" or ")}`);
  const args = [`--unit=${unit}`, `--lines=${LINES}`, "--no-pager", "--quiet", "--output=short-iso"];
  const { exitCode, timedOut, stdout, stderr } = await commands.run({ program, args, timeoutMs: ASK_TIMEOUT_MS }, signal);
  if (exitCode !== 0)
    throw new Error(timedOut ? "journalctl did not answer in time" : `journalctl ended with ${exitCode}: ${stderr.slice(-200)}`);
  return stdout;
}

async function freeOn({ files }: Host): Promise<string> {
  const lines: string[] = [];
  for (const path of DISKS) lines.push(`${path} ${await files.freeBytes(path)} bytes free\n`);
  return lines.join("");
}

/** Of the plans themselves only what names them: their steps are the coordinator's. */
function summaryOf({ accepted, enforced, rejectedGeneration }: JournalState) {
  const { plan: _accepted, ...told } = accepted ?? { plan: "" };
  const pair = enforced && { planEpoch: enforced.planEpoch, generation: enforced.generation };
  return { accepted: accepted && told, enforced: pair, rejectedGeneration };
}

function given<T>(value: T | undefined, why: string): T {
  if (value === undefined) throw new Error(why);
  return value;
}

/** Texts are cleaned before JSON puts backslashes into them, by which a secret would no longer look like one. */
function json(value: unknown): string {
  const clean = (_key: string, each: unknown): unknown => (typeof each === "string" ? redact(each) : each);
  return `${JSON.stringify(value, clean, 2)}\n`;
}
