/** Files in memory, with the port's own rules: no link followed, sizes bounded. */
import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { FileIdentity, FileKind, Files } from "../host/host.ts";
import type { EffectLog } from "./effect-log.ts";

export type FakeFile =
  | string
  | { readonly content: string | Uint8Array; readonly mode?: number; readonly uid?: number }
  | { readonly linkTo: string };

interface Entry {
  readonly kind: "file" | "symlink";
  readonly content: Buffer;
  readonly mode: number;
  /** Default 0. */
  readonly uid?: number;
}

const DEFAULT_MAX_BYTES = 4 * 2 ** 20;

export class FakeFiles implements Files {
  readonly #entries = new Map<string, Entry>();
  readonly #versions = new WeakMap<Entry, number>();
  #lastVersion = 0;
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
    else this.#entries.set(at, { kind: "file", content: Buffer.from(file.content), mode: file.mode ?? 0o644, uid: file.uid ?? 0 });
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

  async readLink(path: string): Promise<string | undefined> {
    this.#effects.assertAlive();
    const entry = this.#entries.get(this.#resolved(path));
    return entry?.kind === "symlink" ? entry.content.toString() : undefined;
  }

  async writeLink(path: string, target: string): Promise<void> {
    this.#refuseLinks(posix.dirname(path));
    if (this.#isDirectory(path)) throw coded("EISDIR", `${path} is a directory`);
    this.#effects.record("files.writeLink", normalized(path), target);
    this.#entries.set(normalized(path), { kind: "symlink", content: Buffer.from(target), mode: 0o777 });
  }

  async writeHardLink(from: string, to: string): Promise<void> {
    this.#effects.assertAlive();
    for (const path of [from, to]) this.#refuseLinks(posix.dirname(path));
    const entry = this.#entries.get(normalized(from));
    if (entry === undefined) throw coded("ENOENT", `there is no ${from}`);
    if (this.#isDirectory(to)) throw coded("EISDIR", `${to} is a directory`);
    this.#effects.record("files.writeHardLink", normalized(to), normalized(from));
    this.#entries.set(normalized(to), entry);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#effects.assertAlive();
    const [source, target] = [normalized(from), normalized(to)];
    for (const path of [from, to]) this.#refuseLinks(posix.dirname(path));
    const moved = [...this.#entries].filter(([path]) => path === source || path.startsWith(`${source}/`));
    if (moved.length === 0) throw coded("ENOENT", `there is no ${from}`);
    const isDirectory = !this.#entries.has(source);
    if (this.#isDirectory(target) || (isDirectory && this.#entries.has(target))) throw coded("EEXIST", `${to} is there already`);
    this.#effects.record("files.rename", target, source);
    for (const [path] of moved) this.#entries.delete(path);
    for (const [path, entry] of moved) this.#entries.set(`${target}${path.slice(source.length)}`, entry);
  }

  async digest(path: string): Promise<string | undefined> {
    const content = await this.read(path, Number.POSITIVE_INFINITY);
    return content === undefined ? undefined : `sha256:${createHash("sha256").update(content).digest("hex")}`;
  }

  async identity(path: string): Promise<FileIdentity | undefined> {
    const stat = await this.stat(path);
    if (stat === undefined) return undefined;
    const entry = this.#entries.get(this.#resolved(path));
    return { ...stat, uid: entry?.uid ?? 0, version: String(entry === undefined ? 0 : this.#versionOf(entry)) };
  }

  async removeTree(path: string): Promise<void> {
    this.#effects.assertAlive();
    const at = normalized(path);
    const removed = [...this.#entries.keys()].filter((entry) => entry === at || entry.startsWith(`${at}/`));
    this.#refuseLinks(posix.dirname(path));
    if (removed.length === 0) return;
    this.#effects.record("files.removeTree", at);
    for (const entry of removed) this.#entries.delete(entry);
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    this.#refuseLinks(path);
    this.#effects.record("files.makeDirectory", normalized(path), mode.toString(8));
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

  /** An entry is never changed, only replaced: which one it is says which content. */
  #versionOf(entry: Entry): number {
    const known = this.#versions.get(entry) ?? (this.#lastVersion += 1);
    this.#versions.set(entry, known);
    return known;
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
