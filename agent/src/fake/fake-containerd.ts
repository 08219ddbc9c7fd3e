/** containerd's image store and CRI in memory, named as the real one names images that were pulled or imported. */
import {
  type Containerd,
  ContainerdError,
  type CriImage,
  type ImageRecord,
  type PodSandbox,
  type TransferProgress,
} from "../host/containerd-port.ts";
import type { EffectLog } from "./effect-log.ts";

export interface FakeContainerdOptions {
  /** Default "1.7.20". From 1.7 on CRI tells pins. */
  readonly version?: string;
  readonly images?: readonly ImageRecord[];
  /** What can be pulled: "name@digest" (no tag) to its size. */
  readonly registry?: Readonly<Record<string, number>>;
  /** What can be imported: absolute path to the names the archive brings, with digests. */
  readonly archives?: Readonly<
    Record<string, { readonly sizeBytes: number; readonly images: readonly { readonly name: string; readonly digest: string }[] }>
  >;
}

const PIN_LABEL = "io.cri-containerd.pinned";

export class FakeContainerd implements Containerd {
  readonly #effects: EffectLog;
  readonly #registry: Map<string, number>;
  readonly #archives: NonNullable<FakeContainerdOptions["archives"]>;
  readonly #images = new Map<string, ImageRecord>();
  readonly #content = new Map<string, number>();
  readonly #damaged = new Set<string>();
  readonly #halfLost = new Set<string>();
  readonly #sandboxes = new Map<string, PodSandbox>();
  #version: string;
  #criProblem: string | undefined;

  constructor(effects: EffectLog, options: FakeContainerdOptions) {
    this.#effects = effects;
    this.#version = options.version ?? "1.7.20";
    this.#registry = new Map(Object.entries(options.registry ?? {}));
    this.#archives = options.archives ?? {};
    for (const image of options.images ?? []) {
      this.#images.set(image.name, image);
      this.#content.set(image.digest, 1000);
    }
  }

  /** By the test's hand: CRI answers not ready with this message; undefined: ready again. */
  breakCri(message: string | undefined): void {
    this.#criProblem = message;
  }

  /** By the test's hand: what the disk did to the content of that image. */
  damage(digest: string): void {
    this.#damaged.add(digest);
  }

  /** By the test's hand: a power cut took a blob of that image whose record stayed; every pull meets it. */
  loseBlob(digest: string): void {
    this.#content.delete(digest);
    this.#halfLost.add(digest);
  }

  setVersion(version: string): void {
    this.#version = version;
  }

  /** By the test's hand: what the kubelet's garbage collection does to all names of that digest. */
  collect(digest: string): void {
    for (const [name, image] of this.#images) if (image.digest === digest) this.#images.delete(name);
    this.#content.delete(digest);
  }

  get images(): readonly ImageRecord[] {
    return [...this.#images.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async version(signal: AbortSignal): Promise<string> {
    this.#assertAnswers(signal);
    return this.#version;
  }

  async criStatus(signal: AbortSignal): Promise<{ readonly isReady: boolean; readonly message: string }> {
    this.#assertAnswers(signal);
    return { isReady: this.#criProblem === undefined, message: this.#criProblem ?? "" };
  }

  async storagePath(signal: AbortSignal): Promise<string> {
    this.#assertAnswers(signal);
    return "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs";
  }

  async listImages(signal: AbortSignal): Promise<readonly ImageRecord[]> {
    this.#assertAnswers(signal);
    return this.images;
  }

  async listCriImages(signal: AbortSignal): Promise<readonly CriImage[]> {
    this.#assertAnswers(signal);
    const byDigest = Map.groupBy(
      this.images.filter((image) => this.#content.has(image.digest)),
      (image) => image.digest,
    );
    return [...byDigest].map(([digest, images]) => ({
      id: digest,
      repoTags: images.map((image) => image.name).filter((name) => !name.includes("@") && !name.startsWith("sha256:")),
      repoDigests: images.map((image) => image.name).filter((name) => name.includes("@")),
      sizeBytes: this.#content.get(digest) ?? 0,
      isPinned: knowsPins(this.#version) && images.some((image) => image.labels[PIN_LABEL] === "pinned"),
    }));
  }

  async pull(reference: string, onProgress: (progress: TransferProgress) => void, signal: AbortSignal): Promise<void> {
    this.#assertAnswers(signal);
    this.#effects.record("containerd.pull", reference);
    const at = reference.indexOf("@");
    const digest = reference.slice(at + 1);
    // As docker references are normalized: a tag beside a digest is dropped.
    const name = `${reference.slice(0, at).replace(/:[^:/]+$/, "")}@${digest}`;
    const totalBytes = this.#registry.get(name) ?? this.#registry.get(reference);
    if (at < 0 || totalBytes === undefined) throw new ContainerdError("NotFound", `${reference}: not found`);
    if (this.#halfLost.has(digest)) {
      throw new ContainerdError(
        "NotFound",
        `failed to get reader from content store: blob ${digest} expected at /x: blob not found: not found`,
      );
    }
    for (const doneBytes of [0, Math.floor(totalBytes / 2), totalBytes]) onProgress({ doneBytes, totalBytes });
    this.#content.set(digest, totalBytes);
    for (const each of [name, digest]) this.#images.set(each, { name: each, digest, labels: { "io.cri-containerd.image": "managed" } });
  }

  async importArchive(
    path: string,
    image: Pick<ImageRecord, "name" | "digest">,
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    this.#assertAnswers(signal);
    this.#effects.record("containerd.importArchive", path, JSON.stringify(image));
    const archive = this.#archives[path];
    if (archive === undefined) throw new ContainerdError("InvalidArchive", `the archive ${path} cannot be opened: no such file`);
    if (!archive.images.some((each) => each.digest === image.digest)) {
      throw new ContainerdError("DigestNotInArchive", `the archive ${path} does not have ${image.digest}`);
    }
    onProgress({ doneBytes: archive.sizeBytes, totalBytes: archive.sizeBytes });
    this.#content.set(image.digest, archive.sizeBytes);
    this.#images.set(image.name, { ...image, labels: this.#images.get(image.name)?.labels ?? {} });
  }

  async putImage(name: string, digest: string, labels: Readonly<Record<string, string | undefined>>, signal: AbortSignal): Promise<void> {
    this.#assertAnswers(signal);
    this.#effects.record("containerd.putImage", name, JSON.stringify({ digest, labels }));
    if (!this.#content.has(digest) && this.#images.get(name)?.digest !== digest)
      throw new ContainerdError("NotFound", `${name} cannot be made: containerd does not have ${digest}`);
    const merged: Record<string, string> = { ...this.#images.get(name)?.labels };
    for (const [key, value] of Object.entries(labels)) {
      if (value === undefined) delete merged[key];
      else merged[key] = value;
    }
    this.#images.set(name, { name, digest, labels: merged });
  }

  async findComplete(digests: readonly string[], signal: AbortSignal): Promise<ReadonlySet<string>> {
    this.#assertAnswers(signal);
    return new Set(digests.filter((digest) => this.#content.has(digest)));
  }

  async dropDamaged(
    digests: readonly string[],
    onProgress: (progress: TransferProgress) => void,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    this.#assertAnswers(signal);
    onProgress({ doneBytes: 1, totalBytes: 1 });
    const dropped = digests.filter((digest) => this.#halfLost.has(digest) || (this.#damaged.has(digest) && this.#content.has(digest)));
    for (const digest of dropped) {
      this.#effects.record("containerd.dropDamaged", digest);
      this.#content.delete(digest);
      this.#damaged.delete(digest);
      this.#halfLost.delete(digest);
    }
    return dropped;
  }

  /** By the test's hand. */
  putSandbox(sandbox: PodSandbox): void {
    this.#sandboxes.set(sandbox.id, sandbox);
  }

  async listSandboxes(signal: AbortSignal): Promise<readonly PodSandbox[]> {
    this.#assertAnswers(signal);
    return [...this.#sandboxes.values()];
  }

  async removeSandbox(id: string, signal: AbortSignal): Promise<void> {
    this.#assertAnswers(signal);
    this.#effects.record("containerd.removeSandbox", id);
    this.#sandboxes.delete(id);
  }

  close(): void {}

  #assertAnswers(signal: AbortSignal): void {
    signal.throwIfAborted();
    this.#effects.assertAlive();
  }
}

function knowsPins(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 1 || minor >= 7;
}
