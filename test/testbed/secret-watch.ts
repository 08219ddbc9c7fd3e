/** Looks for secrets where they must not be: arguments and environments of all that runs, again and again, and every file of a bed. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";

const LOOK_EVERY_MS = 10;
/** Of a key's text: a part of it somewhere is as bad as the whole, and no shorter part is there by chance. */
export const PIECE_LENGTH = 40;
/** Layers of images and disks hold nothing of ours, and are too much to read. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

/** What it was, with a hint at whose it is, to all that was seen in it. */
export type Places = ReadonlyMap<string, string>;

/** Arguments and environments of all that runs until the signal aborts: a secret may be there for a moment only. */
export async function watchProcesses(signal: AbortSignal): Promise<Places> {
  const seen = new Map<string, string>();
  while (!signal.aborted) {
    for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
      for (const what of ["cmdline", "environ"]) {
        const text = await readFile(`/proc/${pid}/${what}`, "latin1").catch(() => "");
        if (text !== "") seen.set(`${what} of ${pid}: ${text.slice(0, 120).replaceAll("\0", " ")}`, text);
      }
    }
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_EVERY_MS);
    });
  }
  return seen;
}

/** Without what folds a key into lines: blanks, and line ends as JSON writes them. */
function unfolded(text: string): string {
  return text.replaceAll("\\n", "").replace(/\s+/g, "");
}

/** A piece of every private key in PEM, and every nkey seed. */
export function secretsIn(text: string): string[] {
  const keys = [...unfolded(text).matchAll(/-----BEGIN[A-Z]*PRIVATEKEY-----([A-Za-z0-9+/=]+)-----END/g)].map((match) =>
    match[1]!.replace(/=+$/, "").slice(-PIECE_LENGTH),
  );
  return [...keys, ...(text.match(/\bS[OAU][A-Z2-7]{56}\b/g) ?? [])];
}

/**
 * Every file under a directory, as text, by its path in it: machines' disks, logs, stores, the report log, NATS' data, outboxes.
 * @param isSkipped whether to look into a folder or file, by its path in the directory
 */
export async function filesUnder(directory: string, isSkipped: (path: string) => boolean = () => false): Promise<Places> {
  const texts = new Map<string, string>();
  const enter = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
      const path = join(folder, entry.name);
      const name = relative(directory, path);
      if (isSkipped(name)) continue;
      if (entry.isDirectory()) await enter(path);
      else if (entry.isFile() && ((await stat(path).catch(() => undefined))?.size ?? Infinity) <= MAX_FILE_BYTES)
        texts.set(name, await readFile(path, "latin1").catch(() => ""));
    }
  };
  await enter(directory);
  return texts;
}

/**
 * @param secrets what must be nowhere, to whose it is
 * @returns "place has the secret of whom" for each place in which one is
 */
export function findings(places: Places, secrets: ReadonlyMap<string, string>): string[] {
  return [...places].flatMap(([place, text]) => {
    const plain = unfolded(text);
    return [...secrets].filter(([secret]) => plain.includes(secret)).map(([, whose]) => `${place} has the secret of ${whose}`);
  });
}
