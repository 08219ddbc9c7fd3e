/** Into a registry by its HTTP API. */
import type { Blob, BuiltImage, BuiltIndex } from "./make-image.ts";

/** @param registryUrl with scheme: "http://127.0.0.1:5000" */
export async function pushImage(registryUrl: string, repository: string, tag: string, image: BuiltImage): Promise<void> {
  for (const blob of [image.config, ...image.layers]) await pushBlob(registryUrl, repository, blob);
  await pushManifest(registryUrl, repository, tag, image.manifest);
}

export async function pushIndex(registryUrl: string, repository: string, tag: string, index: BuiltIndex): Promise<void> {
  for (const image of index.images) await pushImage(registryUrl, repository, image.digest, image);
  await pushManifest(registryUrl, repository, tag, index.index);
}

async function pushManifest(registryUrl: string, repository: string, reference: string, manifest: Blob): Promise<void> {
  const response = await fetch(`${registryUrl}/v2/${repository}/manifests/${reference}`, {
    method: "PUT",
    headers: { "content-type": manifest.mediaType },
    body: new Uint8Array(manifest.bytes),
  });
  await expectStatus(response, 201, `manifest ${repository}:${reference}`);
}

async function pushBlob(registryUrl: string, repository: string, blob: Blob): Promise<void> {
  const started = await fetch(`${registryUrl}/v2/${repository}/blobs/uploads/`, { method: "POST" });
  await expectStatus(started, 202, `upload to ${repository}`);
  const location = new URL(started.headers.get("location") ?? "", registryUrl);
  location.searchParams.set("digest", blob.digest);
  const finished = await fetch(location, {
    method: "PUT",
    headers: { "content-type": "application/octet-stream" },
    body: new Uint8Array(blob.bytes),
  });
  await expectStatus(finished, 201, `blob ${blob.digest}`);
}

async function expectStatus(response: Response, status: number, what: string): Promise<void> {
  const body = await response.text();
  if (response.status !== status) throw new Error(`${what}: the registry answered ${response.status}: ${body.slice(0, 500)}`);
}
