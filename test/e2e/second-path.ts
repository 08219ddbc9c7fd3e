/**
 * A node that falls silent is asked for at its cluster: one whose agent is dead while its kubelet lives is never called unhealthy; one that lost
 * its power is, by its Lease that stands still while kube-controller-manager's moves. Nothing listens for TCP: the Lease alone decides.
 */
import { eventually } from "../testbed/program.ts";
import { JoinStage, SET } from "./join/stage.ts";
import type { E2eScenario } from "./scenario.ts";

const JOIN_MS = 480_000;
/** Grace is 30 s; the two readings of a Lease begin at half of it and are 12 s apart. */
const VERDICT_MS = 120_000;

interface Seen {
  readonly health: string;
  readonly healthReason: string;
}

export const secondPathScenario: E2eScenario = {
  name: "second-path",
  summary: "a node with a dead agent and a living kubelet stays unknown, one without power is called unhealthy by its Lease",
  isShort: false,
  async run(say) {
    await using stage = await JoinStage.make({}, say);
    const { site } = stage;
    await stage.adopt();
    const [mute, dead] = await Promise.all(["web-1", "web-2"].map((name) => site.addMachine(name, { role: "web" }, { kind: "full" })));
    await site.mustDrover(["apply", "-f", await stage.manifest("web")]);
    await site.mustDrover(["rollout", "status", `${SET}-1`, "--timeout", "8m"], { timeoutMs: JOIN_MS });
    for (const machine of [mute!, dead!]) {
      await stage.readyNode(machine.name, JOIN_MS);
      await eventually(`${machine.name} is healthy`, VERDICT_MS, async () => (await healthOf(machine.name)).health === "healthy");
    }

    const stopped = await mute!.run("systemctl", ["stop", "drover-agent.service"], { timeoutMs: 60_000 });
    if (stopped.exitCode !== 0) throw new Error(`the agent of ${mute!.name} could not be stopped: ${stopped.stderr}`);
    await dead!.powerCut();
    const cutAt = performance.now();
    const verdicts = new Set<string>();
    await eventually(`${dead!.name} is unhealthy`, VERDICT_MS, async () => {
      verdicts.add((await healthOf(mute!.name)).health);
      return (await healthOf(dead!.name)).health === "unhealthy";
    });
    say(`holds: ${dead!.name} is unhealthy ${((performance.now() - cutAt) / 1000).toFixed(0)} s after its power was cut`);
    const alive = await eventually(`${mute!.name} is known to live`, VERDICT_MS, async () => {
      const seen = await healthOf(mute!.name);
      verdicts.add(seen.health);
      return seen.healthReason === "SilentButAlive" && seen;
    });
    if (verdicts.has("unhealthy")) throw new Error(`${mute!.name} was called unhealthy while its kubelet lived`);
    say(`holds: ${mute!.name}, whose agent is dead, is ${alive.health} (${alive.healthReason}): its kubelet renews its Lease`);

    async function healthOf(name: string): Promise<Seen> {
      return (JSON.parse(await site.mustDrover(["get", "node", name, "-o", "json"])) as { status: Seen }).status;
    }
  },
};
