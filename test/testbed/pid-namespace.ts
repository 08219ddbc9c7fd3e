/** From a pid inside a pid namespace to the host's pid of the same process. */
import { readdir, readFile, readlink } from "node:fs/promises";

/**
 * @param memberPid host pid of any process in the namespace
 * @param insidePid the wanted process, as numbered inside
 * @returns its host pid; undefined when it has ended
 */
export async function hostPid(memberPid: number, insidePid: number): Promise<number | undefined> {
  const namespace = await readlink(`/proc/${memberPid}/ns/pid`);
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if ((await readlink(`/proc/${entry}/ns/pid`)) !== namespace) continue;
      const line = /^NSpid:(.*)$/m.exec(await readFile(`/proc/${entry}/status`, "utf8"))?.[1] ?? "";
      if (Number(line.trim().split(/\s+/).at(-1)) === insidePid) return Number(entry);
    } catch {
      // It ended while we looked.
    }
  }
  return undefined;
}
