/** What campaigns take off machines, and look for on them, whatever kind they are. */
import type { Machine } from "../testbed/machine.ts";
import { eventually } from "../testbed/program.ts";

const FOLDERS = ["/etc", "/var/lib/drover-agent", "/var/lib/drover"];

/** A running agent writes now and then, and is slow where the machine is: what it writes just now is no leftover. */
const WRITTEN_MS = 20_000;

/** @returns one line for each temporary file that an agent left */
export async function temporaryFiles(machine: Machine): Promise<readonly string[]> {
  let left = await foundOn(machine);
  await eventually("what is being written is written", WRITTEN_MS, async () => {
    if (left.size === 0) return true;
    const now = await foundOn(machine);
    left = new Set([...left].filter((path) => now.has(path)));
    return left.size === 0;
  }).catch(() => undefined);
  return [...left].map((path) => `${path} is left over`);
}

async function foundOn(machine: Machine): Promise<Set<string>> {
  const found = await machine.run("find", [...FOLDERS, "(", "-name", "*.tmp", "-o", "-name", "*.drover-candidate", ")"]);
  return new Set(found.stdout.split("\n").filter((path) => path !== ""));
}

/** Takes images off the machine, with all their names, so that they have to be fetched. */
export async function removeImages(machine: Machine, images: readonly { readonly digest: string }[]): Promise<void> {
  const listed = (await machine.run("ctr", ["-n", "k8s.io", "images", "list"])).stdout.split("\n");
  const names = listed.filter((line) => images.some(({ digest }) => line.includes(digest))).map((line) => line.split(" ")[0]!);
  if (names.length === 0) return;
  const removed = await machine.run("ctr", ["-n", "k8s.io", "images", "rm", "--sync", ...names]);
  if (removed.exitCode !== 0) throw new Error(`images could not be removed: ${removed.stderr}`);
}
