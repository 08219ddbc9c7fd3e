/** The key file of stored secrets: made at the first start, for its owner alone. To be backed up apart from the store: both together are the secrets. */
import { randomBytes } from "node:crypto";
import { readFileSync, type Stats, statSync } from "node:fs";
import { Secret } from "@drover/lifecycle";
import { writeDurably } from "../bus/durable-file.ts";
import { SECRET_KEY_BYTES, SecretBox } from "./secret-box.ts";

/** The file cannot be used as it is; the message says what to do. */
export class SecretKeyUnusable extends Error {
  override readonly name = "SecretKeyUnusable";
}

export type SecretKeyOpening = { readonly box: SecretBox; readonly isNew: boolean };

/** Makes the file when it is not there. @throws SecretKeyUnusable */
export function openSecretBox(keyFile: string): SecretKeyOpening {
  const there = readSecretBox(keyFile);
  if (there !== undefined) return { box: there, isNew: false };
  const key = randomBytes(SECRET_KEY_BYTES);
  try {
    writeDurably(keyFile, key);
  } catch (error) {
    throw new SecretKeyUnusable(
      `${keyFile} cannot be made (${codeOf(error)}): make its directory, for this user alone, or name another file`,
    );
  }
  return { box: new SecretBox(new Secret(key), keyFile), isNew: true };
}

/** undefined: there is no such file. @throws SecretKeyUnusable */
export function readSecretBox(keyFile: string): SecretBox | undefined {
  let stats: Stats;
  let key: Buffer;
  try {
    stats = statSync(keyFile);
    if (!stats.isFile() || stats.size !== SECRET_KEY_BYTES) throw unfit(keyFile, stats);
    const problem = openness(keyFile, stats);
    if (problem !== undefined) throw new SecretKeyUnusable(problem);
    key = readFileSync(keyFile);
  } catch (error) {
    if (error instanceof SecretKeyUnusable) throw error;
    if (codeOf(error) === "ENOENT") return undefined;
    throw new SecretKeyUnusable(`${keyFile} cannot be read (${codeOf(error)}): chown it to the coordinator's user, chmod 0600`);
  }
  if (key.length !== SECRET_KEY_BYTES) throw unfit(keyFile, stats);
  return new SecretBox(new Secret(key), keyFile);
}

function unfit(keyFile: string, stats: Stats): SecretKeyUnusable {
  const is = stats.isFile() ? `has ${stats.size} bytes` : "is no file";
  return new SecretKeyUnusable(
    `${keyFile} ${is}, a key has ${SECRET_KEY_BYTES}: put it back from its backup; without one move it away, start, and adopt each cluster again`,
  );
}

function openness(keyFile: string, { mode, uid }: Stats): string | undefined {
  const permissions = mode & 0o777;
  if ((permissions & 0o077) !== 0) {
    return `${keyFile} is open to others (mode ${permissions.toString(8)}): who has it and the store has every kubeconfig; chmod 0600 ${keyFile}`;
  }
  const own = process.getuid?.() ?? uid;
  return uid === own || uid === 0 ? undefined : `${keyFile} is owned by uid ${uid}, who can read it; chown ${own} ${keyFile}`;
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "error";
}
