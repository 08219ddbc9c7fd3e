/** One case of a virtual machine: it reboots, or its power is cut, while a change that cuts it off waits for its confirmation. */
import { setTimeout as pause } from "node:timers/promises";
import { eventually } from "../../testbed/program.ts";
import type { VirtualMachine } from "../../testbed/vm/virtual-machine.ts";
import type { Fault } from "./faults.ts";
import type { Subject } from "./subject.ts";
import { GRACE_MS, planEnds } from "./trial.ts";

export type BootBlow = "reboot" | "power cut";

/** What must find the files as they were: each reads some of them when it starts, or brings the network up. */
const AFTER_PRESEED = [
  "systemd-sysctl.service",
  "drover-bed-network.service",
  "containerd.service",
  "kubelet.service",
  "drover-agent.service",
];

export async function bootInTheWindow(
  subject: Subject,
  machine: VirtualMachine,
  order: { readonly fault: Fault; readonly blow: BootBlow; readonly afterMs: number; readonly patienceMs: number },
): Promise<{ readonly problems: readonly string[]; readonly lateMs: number }> {
  const { fault, blow, afterMs, patienceMs } = order;
  const problems: string[] = [...(await subject.stayedGood())];
  const before = await subject.steadyState();
  await subject.changeForBad(fault);
  const tried = await eventually("a try record is there", patienceMs, async () => {
    const { tried: record } = await subject.look();
    return record?.kinds.includes(fault.kind) === true && record.phase !== "undoing" && record;
  });
  await pause(afterMs);
  if (blow === "reboot") await machine.reboot();
  else await subject.cutPower();
  if (machine.bootId === tried.bootId) problems.push("it is the same boot");
  problems.push(...(await preseedProblems(machine)));
  let looks = 0;
  const seen = await eventually("it is as before", patienceMs, async () => {
    const now = await subject.look();
    looks += 1;
    return now.state === before && (now.tried === undefined || now.tried.phase === "undoing") && now;
  }).catch(async (error: unknown) => {
    const { state } = await subject.look();
    throw new Error(`after the boot: ${subject.difference(before, state)}`, { cause: error });
  });
  // Nobody can look before it is up, which takes an emulated machine longer than its agent's undo: then it was undone by then.
  const lateMs = looks === 1 ? 0 : seen.atMs - (seen.agentStartMs ?? seen.atMs);
  if (lateMs > GRACE_MS) problems.push(`undone ${(lateMs / 1000).toFixed(1)} s after the agent's start`);
  await eventually("its plan is rejected", patienceMs, async () =>
    planEnds(await subject.log()).some(({ generation, reason }) => generation === tried.generation && reason === "BootedUnconfirmed"),
  );
  return { problems, lateMs };
}

/** The unit has put back what it had to before anything of the boot could read it. */
async function preseedProblems(machine: VirtualMachine): Promise<readonly string[]> {
  const unit = "drover-preseed.service";
  const show = async (name: string, property: string): Promise<string> =>
    (await machine.run("systemctl", ["show", name, `--property=${property}`, "--value"])).stdout.trim();
  const problems: string[] = [];
  if ((await show(unit, "Result")) !== "success") problems.push(`${unit} ended with ${await show(unit, "Result")}`);
  const ended = Number(await show(unit, "ExecMainExitTimestampMonotonic"));
  if (ended === 0) problems.push(`${unit} has not run in this boot`);
  const before = (await show(unit, "Before")).split(" ");
  if (!before.includes("network-pre.target")) problems.push(`${unit} is not ordered before network-pre.target`);
  for (const name of AFTER_PRESEED) {
    const started = Number(await show(name, "ExecMainStartTimestampMonotonic"));
    if (started !== 0 && started < ended) problems.push(`${name} started ${ended - started} us before ${unit} had ended`);
  }
  return problems;
}
