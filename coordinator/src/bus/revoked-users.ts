/** The NATS users that were revoked, in a file of their own: durable before anybody is told. */
import { z } from "zod";
import { readIfThere, writeDurably } from "./durable-file.ts";
import { isPublicNkey } from "./nkey.ts";

const revocationsFile = z.record(z.string(), z.object({ atMs: z.number() }));

export class RevokedUsers {
  readonly #path: string;
  readonly #revoked: Map<string, { readonly atMs: number }>;

  constructor(path: string, revoked: ReadonlyMap<string, { readonly atMs: number }>) {
    this.#path = path;
    this.#revoked = new Map(revoked);
  }

  /** Public keys, "U...". */
  get users(): readonly string[] {
    return [...this.#revoked.keys()];
  }

  has(publicKey: string): boolean {
    return this.#revoked.has(publicKey);
  }

  /** Durable when it returns. */
  add(publicKey: string, atMs: number): void {
    if (!isPublicNkey("user", publicKey)) throw new Error("not the public key of a NATS user");
    if (this.#revoked.has(publicKey)) return;
    this.#revoked.set(publicKey, { atMs });
    writeDurably(this.#path, JSON.stringify(Object.fromEntries(this.#revoked)));
  }
}

/** @throws when the file is damaged: forgetting a revocation would let a node in again */
export function openRevokedUsers(path: string): RevokedUsers {
  const kept = readIfThere(path);
  if (kept === undefined) return new RevokedUsers(path, new Map());
  try {
    return new RevokedUsers(path, new Map(Object.entries(revocationsFile.parse(JSON.parse(kept.toString("utf8"))))));
  } catch {
    throw new Error(`${path} is damaged; restore it from a backup (without it revoked nodes could connect again)`);
  }
}
