/** `--keep`: leaves a site running and says how to use it, until Enter or a signal. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Site } from "../testbed/site.ts";
import type { Narrator } from "./narrator.ts";

export async function keep(site: Site, tell: Narrator): Promise<void> {
  const wrapper = join(site.bed.directory, "drover");
  const [nsenter, ...rest] = site.cliCommand;
  await writeFile(wrapper, `#!/bin/sh\nexec ${nsenter} --wd="$PWD" ${rest.join(" ")} "$@"\n`, { mode: 0o755 });
  const machines = [...site.machines.values()].sort((a, b) => a.name.localeCompare(b.name));
  const [first] = machines;
  tell.chapter("All of it stays up until you press Ctrl-C");
  tell.say(`  export PATH=${site.bed.directory}:$PATH
  drover get nodes -w
  drover describe nodes
  drover logs ${first?.name}
a shell on a machine:
${machines.map((machine) => `  nsenter -t ${machine.pid} -a sh    # ${machine.name}`).join("\n")}`);
  await new Promise<void>((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
    setInterval(() => {}, 60_000);
  });
}
