/** What campaigns take off machines, and look for on them, whatever kind they are. */
import type { Machine } from "../testbed/machine.ts";

const FOLDERS = ["/etc", "/var/lib/drover-agent", "/var/lib/drover"];

/** @returns one line for each temporary file that an agent left */
export async function temporaryFiles(machine: Machine): Promise<readonly string[]> {
  const found = await machine.run("find", [...FOLDERS, "(", "-name", "*.tmp", "-o", "-name", "*.drover-candidate", ")"]);
  return found.stdout.split("\n").flatMap((path) => (path === "" ? [] : [`${path} is left over`]));
}

/** Takes images off the machine, with all their names, so that they have to be fetched. */
export async function removeImages(machine: Machine, images: readonly { readonly digest: string }[]): Promise<void> {
  const listed = (await machine.run("ctr", ["-n", "k8s.io", "images", "list"])).stdout.split("\n");
  const names = listed.filter((line) => images.some(({ digest }) => line.includes(digest))).map((line) => line.split(" ")[0]!);
  if (names.length === 0) return;
  const removed = await machine.run("ctr", ["-n", "k8s.io", "images", "rm", "--sync", ...names]);
  if (removed.exitCode !== 0) throw new Error(`images could not be removed: ${removed.stderr}`);
}
