/**
 * Makes images and pushes them, as a program of its own so that it can run where the registry is reachable.
 * Arguments: REGISTRY_URL, then NAME=SIZE_BYTES for each; prints the image lock's entries as JSON.
 */
import { makeImage } from "./make-image.ts";
import { pushImage } from "./push-image.ts";

const [registryUrl = "", ...wanted] = process.argv.slice(2);
const entries = [];
for (const [index, text] of wanted.entries()) {
  const [name = "", size = ""] = text.split("=");
  const colon = name.lastIndexOf(":");
  const repository = name.slice(name.indexOf("/") + 1, colon);
  const image = makeImage({ sizeBytes: Number(size), seed: index + 1, layerCount: 2 });
  await pushImage(registryUrl, repository, name.slice(colon + 1), image);
  entries.push({ name, digest: image.digest, size: image.sizeBytes, pinned: true });
}
console.log(JSON.stringify(entries));
