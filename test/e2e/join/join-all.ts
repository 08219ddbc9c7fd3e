/** The way to a cluster with joined nodes, for stories that begin there. */
import type { Machine } from "../../testbed/machine.ts";
import { eventually } from "../../testbed/program.ts";
import type { JoinStage } from "./stage.ts";

export interface JoinAllOptions {
  /** What a machine needs besides, before it enrols. */
  readonly prepare?: (machine: Machine) => Promise<void>;
  readonly strategy?: object;
}

/** Boots, enrols and joins full machines of these names, all at once. */
export async function joinAll(
  stage: JoinStage,
  names: readonly string[],
  say: (line: string) => void,
  { prepare, strategy = {} }: JoinAllOptions = {},
): Promise<readonly Machine[]> {
  const { site } = stage;
  await stage.adopt();
  say(`${names.length} machines boot, enrol and join`);
  const machines = await Promise.all(
    names.map((name) => site.addMachine(name, { role: "web" }, { kind: "full", ...(prepare === undefined ? {} : { prepare }) })),
  );
  await eventually("all are known", 120_000, async () => {
    const listed = (await site.drover(["get", "nodes", "-o", "name"])).stdout;
    return names.every((name) => listed.includes(name));
  });
  await site.mustDrover(["apply", "-f", await stage.manifest("joining", {}, { ...strategy, maxUnavailable: names.length })]);
  for (const name of names) {
    await stage.readyNode(name, 400_000);
    await site.mustDrover(["wait", `node/${name}`, "--for=condition=KubernetesReady", "--timeout", "2m"], { timeoutMs: 130_000 });
    await site.mustDrover(["wait", `node/${name}`, "--for=phase=InSync", "--timeout", "2m"], { timeoutMs: 130_000 });
  }
  return machines;
}
