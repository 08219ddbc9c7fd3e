/** OCI images made of nothing but a seed: real tars, gzip, digests and manifests, without a build tool. */
import { createCipheriv, createHash } from "node:crypto";
import { arch } from "node:os";
import { gzipSync } from "node:zlib";
import { makeTar, type TarFile } from "./tar.ts";

export interface ImageOptions {
  /** Of incompressible content, over all layers; the compressed image is a little larger. */
  readonly sizeBytes: number;
  /** The same seed and size give the same digest. */
  readonly seed: number;
  /** Default 1. */
  readonly layerCount?: number;
  /** As Go names it; default: this machine's. */
  readonly architecture?: string;
  /** Besides the content, in the first layer. */
  readonly files?: readonly TarFile[];
}

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

export interface BuiltLayer extends Blob {
  /** Uncompressed. */
  readonly tar: Buffer;
}

export interface BuiltImage {
  /** Of the manifest. */
  readonly digest: string;
  /** Compressed: configuration and layers, as an image lock states it. */
  readonly sizeBytes: number;
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly BuiltLayer[];
}

/** Images of several architectures under one digest. */
export interface BuiltIndex {
  readonly digest: string;
  readonly index: Blob;
  readonly images: readonly BuiltImage[];
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
export const MACHINE_ARCHITECTURE = arch() === "x64" ? "amd64" : arch();

export function makeImage(options: ImageOptions): BuiltImage {
  const layerCount = options.layerCount ?? 1;
  const layers = Array.from({ length: layerCount }, (_, index) => {
    const content = pseudoRandom(`${options.seed}/${index}`, Math.ceil(options.sizeBytes / layerCount));
    return makeLayer([{ path: `content-${options.seed}-${index}`, content }, ...(index === 0 ? (options.files ?? []) : [])]);
  });
  return assemble(layers, options.architecture ?? MACHINE_ARCHITECTURE, { Env: [`PATH=${PATH}`] });
}

/** One layer of real programs. @param entrypoint none: whoever runs it says what */
export function makeProgramImage(files: readonly TarFile[], entrypoint?: readonly string[]): BuiltImage {
  return assemble([makeLayer(files)], MACHINE_ARCHITECTURE, {
    Env: [`PATH=${PATH}`],
    ...(entrypoint === undefined ? {} : { Entrypoint: entrypoint }),
  });
}

export function makeIndex(images: Readonly<Record<string, BuiltImage>>): BuiltIndex {
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const manifests = Object.entries(images).map(([architecture, image]) => ({
    ...descriptorOf(image.manifest),
    platform: { os: "linux", architecture },
  }));
  const index = blob(mediaType, { schemaVersion: 2, mediaType, manifests });
  return { digest: index.digest, index, images: Object.values(images) };
}

export function descriptorOf(of: Blob): { readonly mediaType: string; readonly digest: string; readonly size: number } {
  return { mediaType: of.mediaType, digest: of.digest, size: of.bytes.length };
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function assemble(layers: readonly BuiltLayer[], architecture: string, runtime: object): BuiltImage {
  const config = blob("application/vnd.oci.image.config.v1+json", {
    architecture,
    os: "linux",
    config: runtime,
    rootfs: { type: "layers", diff_ids: layers.map((layer) => sha256(layer.tar)) },
  });
  const manifest = blob("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: descriptorOf(config),
    layers: layers.map((layer) => descriptorOf(layer)),
  });
  const sizeBytes = layers.reduce((sum, layer) => sum + layer.bytes.length, config.bytes.length);
  return { digest: manifest.digest, sizeBytes, manifest, config, layers };
}

function makeLayer(files: readonly TarFile[]): BuiltLayer {
  const tar = makeTar(files);
  const bytes = gzipSync(tar, { level: 1 });
  return { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: sha256(bytes), bytes, tar };
}

function blob(mediaType: string, content: unknown): Blob {
  const bytes = Buffer.from(JSON.stringify(content));
  return { mediaType, digest: sha256(bytes), bytes };
}

function pseudoRandom(seed: string, sizeBytes: number): Buffer {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
}
