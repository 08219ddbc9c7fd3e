/**
 * Campaign confirm-vm (I4): a virtual machine reboots, or loses its power, at a moment chosen by seed in the window in which a change that cuts it
 * off waits for its confirmation. drover-preseed.service puts the files back before systemd-sysctl, network, containerd and agent start (its
 * place in the boot is read from systemd); the machine is as before within 10 s of its agent's start, the agent rejects the plan as
 * BootedUnconfirmed, and a good change after it is confirmed and stays.
 *
 *   npm run campaign -- confirm-vm [--count N] [--seed S]
 */
import { availableParallelism } from "node:os";
import { seededRandom } from "@drover/lifecycle";
import { eventually } from "../../testbed/program.ts";
import { Site } from "../../testbed/site.ts";
import type { VirtualMachine } from "../../testbed/vm/virtual-machine.ts";
import type { Campaign } from "../campaign.ts";
import { Fleet } from "../fleet.ts";
import { type BootBlow, bootInTheWindow } from "./boot.ts";
import { type FaultName, faults, plantContainerd } from "./faults.ts";
import { Subject } from "./subject.ts";

/** Emulated processors are the machine's own, several at once each. */
const MOST_MACHINES = 2;
const PATIENCE_MS = 400_000;
/** Longer than the part of the window in which the boot comes; emulated steps are slow. */
const DEADLINE_S = 90;
const WINDOW_MS = 15_000;
const FAULTS: readonly FaultName[] = ["ports", "cri"];

interface BootCase {
  readonly number: number;
  readonly fault: FaultName;
  readonly blow: BootBlow;
  readonly afterMs: number;
}

export const confirmVmCampaign: Campaign = {
  name: "confirm-vm",
  summary: "a virtual machine boots before a change that cuts it off is confirmed: undone before its network starts, and rejected",
  fullCount: 10,
  async run({ count, seed, say }) {
    const random = seededRandom(seed);
    const cases = Array.from({ length: count }, (_, index): BootCase => {
      const blow = random.unit() < 0.5 ? "reboot" : "power cut";
      return { number: index + 1, fault: FAULTS[index % FAULTS.length]!, blow, afterMs: Math.round(random.unit() * WINDOW_MS) };
    });
    await using site = await Site.make({ intervals: { poll: "5s" } });
    const fleet = new Fleet(site);
    const machines = Math.min(count, MOST_MACHINES, Math.ceil(availableParallelism() / 2));
    const made = await Promise.all(
      Array.from({ length: machines }, async (_, index) => {
        const name = `vm-${index + 1}`;
        const machine = await site.addMachine(name, { set: name, part: "subject" }, { kind: "vm", prepare: plantContainerd });
        const subject = await subjectOf(site, fleet, machine);
        return { machine, subject };
      }),
    );
    const tally = { passed: 0, failed: 0 };
    await Promise.all(
      made.map(async ({ machine, subject }) => {
        for (let next = cases.shift(); next !== undefined; next = cases.shift()) {
          const told = `case ${next.number} on ${subject.name}, ${next.fault}, ${next.blow} after ${next.afterMs} ms`;
          const { problems, lateMs } = await oneBoot(subject, machine, next);
          if (problems.length === 0) tally.passed += 1;
          else tally.failed += 1;
          say(
            `${told}: ${problems.length > 0 ? problems.join("; ") : `as before ${lateMs === 0 ? "when it was up" : `${(lateMs / 1000).toFixed(1)} s after the agent's start`}`}`,
          );
        }
      }),
    );
    return tally;
  },
};

async function oneBoot(subject: Subject, machine: VirtualMachine, { fault, blow, afterMs }: BootCase) {
  try {
    const { problems, lateMs } = await bootInTheWindow(subject, machine, { fault: faults[fault], blow, afterMs, patienceMs: PATIENCE_MS });
    return { problems: [...problems, ...(await subject.changeForGood())], lateMs };
  } catch (error) {
    const { message, cause } = error as Error;
    // What failed must not fail the cases after it.
    await subject.changeForGood().catch(() => undefined);
    return { problems: [cause instanceof Error ? `${message} (${cause.message})` : message], lateMs: 0 };
  }
}

async function subjectOf(site: Site, fleet: Fleet, machine: VirtualMachine): Promise<Subject> {
  const parts = { site, fleet, machine, bystander: undefined, hasKubelet: false, confirmDeadlineS: DEADLINE_S, patienceMs: PATIENCE_MS };
  const subject = new Subject({ ...parts, afterBoot: async () => undefined });
  await eventually(`${machine.name} is enrolled`, PATIENCE_MS, () => fleet.node(machine.name) !== undefined);
  const problems = await subject.changeForGood();
  if (problems.length > 0) throw new Error(problems.join("; "));
  return subject;
}
