/** Files in memory, with the port's own rules: no link followed, sizes bounded. */
import { posix } from "node:path";
import type { FileKind, Files } from "../host/host.ts";
import type { EffectLog } from "./effect-log.ts";

export type FakeFile = string | { readonly content: string | Uint8Array; readonly mode?: number } | { readonly linkTo: string };

interface Entry {
  readonly kind: "file" | "symlink";
  readonly content: Buffer;
  readonly mode: number;
}

const DEFAULT_MAX_BYTES = 4 * 2 ** 20;

export class FakeFiles implements Files {
  readonly #entries = new Map<string, Entry>();
  readonly #effects: EffectLog;
  #freeBytes: number;

  constructor(effects: EffectLog, files: Readonly<Record<string, FakeFile>>, freeBytes: number) {
    this.#effects = effects;
    this.#freeBytes = freeBytes;
    for (const [path, file] of Object.entries(files)) this.put(path, file);
  }

  /** By the test's hand: no effect is recorded. */
  put(path: string, file: FakeFile): void {
    const at = normalized(path);
    if (typeof file === "string") this.#entries.set(at, { kind: "file", content: Buffer.from(file), mode: 0o644 });
    else if ("linkTo" in file) this.#entries.set(at, { kind: "symlink", content: Buffer.from(file.linkTo), mode: 0o777 });
    else this.#entries.set(at, { kind: "file", content: Buffer.from(file.content), mode: file.mode ?? 0o644 });
  }

  /** By the test's hand. */
  drop(path: string): void {
    this.#entries.delete(normalized(path));
  }

  /** Content as text; undefined when absent. */
  text(path: string): string | undefined {
    return this.#entries.get(normalized(path))?.content.toString();
  }

  /** All paths, sorted. */
  get paths(): readonly string[] {
    return [...this.#entries.keys()].sort();
  }

  setFreeBytes(bytes: number): void {
    this.#freeBytes = bytes;
  }

  async read(path: string, maxBytes = DEFAULT_MAX_BYTES): Promise<Buffer | undefined> {
    this.#effects.assertAlive();
    const resolved = this.#resolved(path);
    this.#refuseLinks(resolved);
    const entry = this.#entries.get(resolved);
    if (entry === undefined) {
      if (this.#isDirectory(path)) throw coded("EISDIR", `${path} is no regular file`);
      return undefined;
    }
    if (entry.content.length > maxBytes) throw coded("EFBIG", `${path} is larger than ${maxBytes} bytes`);
    return Buffer.from(entry.content);
  }

  async write(path: string, content: string | Uint8Array, mode: number): Promise<void> {
    this.#refuseLinks(posix.dirname(path));
    if (this.#isDirectory(path)) throw coded("EISDIR", `${path} is a directory`);
    this.#effects.record("files.write", normalized(path), Buffer.from(content as Uint8Array).toString());
    this.#entries.set(normalized(path), { kind: "file", content: Buffer.from(content as Uint8Array), mode });
  }

  async remove(path: string): Promise<void> {
    const at = normalized(path);
    this.#effects.assertAlive();
    if (!this.#entries.has(at)) return;
    this.#refuseLinks(posix.dirname(path));
    this.#effects.record("files.remove", at);
    this.#entries.delete(at);
  }

  async list(path: string): Promise<readonly string[]> {
    this.#effects.assertAlive();
    const prefix = `${this.#resolved(`${path}/.`).replace(/\/$/, "")}/`;
    const names = new Set<string>();
    for (const entry of this.#entries.keys()) {
      if (entry.startsWith(prefix)) names.add(entry.slice(prefix.length).split("/")[0]!);
    }
    return [...names].sort();
  }

  async stat(path: string): Promise<{ readonly kind: FileKind; readonly sizeBytes: number; readonly mode: number } | undefined> {
    this.#effects.assertAlive();
    const entry = this.#entries.get(this.#resolved(path));
    if (entry !== undefined) return { kind: entry.kind, sizeBytes: entry.content.length, mode: entry.mode };
    return this.#isDirectory(path) ? { kind: "directory", sizeBytes: 0, mode: 0o755 } : undefined;
  }

  async freeBytes(_path: string): Promise<number> {
    this.#effects.assertAlive();
    return this.#freeBytes;
  }

  /** Links before the last component are followed when reading, as the real files do inside their root. */
  #resolved(path: string): string {
    const isDirectoryWanted = path.endsWith("/.");
    const parts = normalized(path)
      .split("/")
      .filter((part) => part !== "");
    let at = "";
    for (let index = 0; index < parts.length; index += 1) {
      at = `${at}/${parts[index]}`;
      const entry = this.#entries.get(at);
      if (entry?.kind !== "symlink" || (index === parts.length - 1 && !isDirectoryWanted)) continue;
      const target = posix.resolve(posix.dirname(at), entry.content.toString());
      return this.#resolved(posix.join(target, ...parts.slice(index + 1)));
    }
    return at === "" ? "/" : at;
  }

  #isDirectory(path: string): boolean {
    const prefix = `${normalized(path).replace(/\/$/, "")}/`;
    return prefix === "/" || [...this.#entries.keys()].some((entry) => entry.startsWith(prefix));
  }

  #refuseLinks(path: string): void {
    for (let at = normalized(path); at !== "/"; at = posix.dirname(at)) {
      if (this.#entries.get(at)?.kind === "symlink") throw coded("ELOOP", `${at} is a symbolic link`);
    }
  }
}

function normalized(path: string): string {
  if (!posix.isAbsolute(path) || path.includes("\0") || path.split("/").includes("..")) {
    throw coded("EINVAL", `${JSON.stringify(path)} is no absolute path without ".."`);
  }
  return posix.normalize(path);
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
