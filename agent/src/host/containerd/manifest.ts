/** What manifests, indexes and configurations say; pure. Docker's media types and OCI's are read alike, by their fields. */
import { createHash } from "node:crypto";
import { ContainerdError } from "../containerd-port.ts";

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface Platform {
  readonly os: string;
  /** As Go names it: "amd64", "arm64". */
  readonly architecture: string;
}

export type ManifestDocument =
  | { readonly kind: "manifest"; readonly mediaType: string; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  | {
      readonly kind: "index";
      readonly mediaType: string;
      readonly manifests: readonly (Descriptor & { readonly platform: Platform | undefined })[];
    };

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
/** Manifests and configurations above this are refused unread. */
export const MAX_DOCUMENT_BYTES = 4 * 2 ** 20;
const MAX_ENTRIES = 1000;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: unknown): text is string {
  return typeof text === "string" && DIGEST.test(text);
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** @throws ContainerdError InvalidImage */
export function parseManifest(bytes: Buffer, what: string): ManifestDocument {
  const document = parseJsonObject(bytes, what);
  if (Array.isArray(document.manifests)) {
    return {
      kind: "index",
      mediaType: typeof document.mediaType === "string" ? document.mediaType : OCI_INDEX,
      manifests: entries(document.manifests, what).map((entry) => ({ ...descriptor(entry, what), platform: platformOf(entry) })),
    };
  }
  if (Array.isArray(document.layers)) {
    return {
      kind: "manifest",
      mediaType: typeof document.mediaType === "string" ? document.mediaType : OCI_MANIFEST,
      config: descriptor(document.config, what),
      layers: entries(document.layers, what).map((entry) => descriptor(entry, what)),
    };
  }
  throw new ContainerdError("InvalidImage", `${what} is neither an image manifest nor an index`);
}

/** @throws ContainerdError InvalidImage when none is for this platform */
export function forPlatform(index: Extract<ManifestDocument, { kind: "index" }>, platform: Platform, what: string): Descriptor {
  const match = index.manifests.find((each) => each.platform?.os === platform.os && each.platform.architecture === platform.architecture);
  // An index of one image need not say for which platform it is.
  const only = index.manifests.length === 1 && index.manifests[0]!.platform === undefined ? index.manifests[0] : undefined;
  const found = match ?? only;
  if (found === undefined) throw new ContainerdError("InvalidImage", `${what} has no image for ${platform.os}/${platform.architecture}`);
  return found;
}

/** The uncompressed layers' digests in a configuration, lowest first. @throws ContainerdError InvalidImage */
export function diffIdsOf(config: Buffer, what: string): readonly string[] {
  const { rootfs } = parseJsonObject(config, what);
  const ids: unknown = (rootfs as { diff_ids?: unknown } | null | undefined)?.diff_ids ?? [];
  if (!Array.isArray(ids) || ids.length > MAX_ENTRIES || !ids.every(isDigest)) {
    throw new ContainerdError("InvalidImage", `${what} names no readable rootfs.diff_ids`);
  }
  return ids;
}

/** The name of the snapshot after each layer, as OCI defines ChainID. */
export function chainIds(diffIds: readonly string[]): readonly string[] {
  const chain: string[] = [];
  for (const id of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? id : digestOf(Buffer.from(`${below} ${id}`)));
  }
  return chain;
}

export function parseJsonObject(bytes: Buffer, what: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw new ContainerdError("InvalidImage", `${what} is no JSON`, { cause: error });
  }
  throw new ContainerdError("InvalidImage", `${what} is no JSON object`);
}

function descriptor(value: unknown, what: string): Descriptor {
  const { mediaType, digest, size } = (value ?? {}) as Record<string, unknown>;
  if (typeof mediaType !== "string" || !isDigest(digest) || !Number.isSafeInteger(size) || (size as number) < 0) {
    throw new ContainerdError("InvalidImage", `${what} has a descriptor without mediaType, sha256 digest or size`);
  }
  return { mediaType, digest, sizeBytes: size as number };
}

function entries(values: readonly unknown[], what: string): readonly unknown[] {
  if (values.length > MAX_ENTRIES) throw new ContainerdError("InvalidImage", `${what} has more than ${MAX_ENTRIES} entries`);
  return values;
}

function platformOf(value: unknown): Platform | undefined {
  const { platform } = value as { platform?: { os?: unknown; architecture?: unknown } };
  if (typeof platform?.os !== "string" || typeof platform.architecture !== "string") return undefined;
  return { os: platform.os, architecture: platform.architecture };
}
