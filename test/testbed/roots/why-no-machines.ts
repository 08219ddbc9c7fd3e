/** Whether this computer can make full machines now, for tests that must not install packages or take minutes. */
import { join } from "node:path";
import { isThere } from "./cache.ts";
import { hasKubernetesBinaries, noKubernetesBinaries } from "./kubernetes-binaries.ts";
import { hasRootFileSystem } from "./root-file-system.ts";

const programs = ["systemd-nspawn", "zstd", "flock"];

/** @returns what is missing and what to do, as the end of "skipped: ..."; undefined when nothing is */
export async function whyNoFullMachines(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "machines need root";
  if (!(await hasKubernetesBinaries())) return noKubernetesBinaries;
  for (const program of programs) {
    const found = await Promise.all(["/usr/bin", "/bin"].map((folder) => isThere(join(folder, program))));
    if (!found.includes(true)) return `no ${program}: run sh test/support/set-up.sh machines`;
  }
  if (!(await hasRootFileSystem())) return "the machines' root file system is not built: run node test/testbed/roots/build-main.ts";
  return undefined;
}
