/** Images as files: an OCI layout in a tar, and what `docker save` writes. */
import { writeFile } from "node:fs/promises";
import { type BuiltImage, type BuiltIndex, descriptorOf } from "./make-image.ts";
import { makeTar } from "./tar.ts";

/** @param ref full reference with tag, put into the index as containerd's and OCI's annotations */
export async function writeOciArchive(path: string, image: BuiltImage | BuiltIndex, ref: string): Promise<void> {
  const annotations = { "io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref.slice(ref.lastIndexOf(":") + 1) };
  const top = "index" in image ? image.index : image.manifest;
  const images = "index" in image ? image.images : [image];
  const index = { schemaVersion: 2, manifests: [{ ...descriptorOf(top), annotations }] };
  const blobs = new Set([top, ...images.flatMap((each) => [each.manifest, each.config, ...each.layers])]);
  const tar = makeTar([
    { path: "oci-layout", content: Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" })) },
    ...[...blobs].map((blob) => ({ path: `blobs/${blob.digest.replace(":", "/")}`, content: blob.bytes })),
    { path: "index.json", content: Buffer.from(JSON.stringify(index)) },
  ]);
  await writeFile(path, tar);
}

/** Layers lie in it uncompressed, and there is no manifest: whoever imports it makes one. */
export async function writeDockerArchive(path: string, image: BuiltImage, ref: string): Promise<void> {
  const hex = (digest: string): string => digest.slice("sha256:".length);
  const layers = image.layers.map((layer) => ({ path: `${hex(layer.digest)}/layer.tar`, content: layer.tar }));
  const config = { path: `${hex(image.config.digest)}.json`, content: image.config.bytes };
  const manifest = [{ Config: config.path, RepoTags: [ref], Layers: layers.map((layer) => layer.path) }];
  await writeFile(path, makeTar([config, ...layers, { path: "manifest.json", content: Buffer.from(JSON.stringify(manifest)) }]));
}
