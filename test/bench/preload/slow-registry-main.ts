/**
 * A registry as if it were far away, as a program of its own so that it runs where machines reach it: filled with made-up images,
 * each answer's first byte after a delay. Prints the images as JSON when it is ready.
 * Arguments: HOST PORT DELAY_MS, then REPOSITORY:TAG=SIZE_BYTES/LAYERS for each.
 */
import { startMirror, startRegistry } from "../../support/containerd/index.ts";
import { makeImage, pushImage } from "../../support/images/index.ts";

const [host = "", port = "", delayMs = "", ...wanted] = process.argv.slice(2);
const registry = await startRegistry();
const images = [];
for (const [index, text] of wanted.entries()) {
  const [, repository = "", tag = "", size = "", layers = ""] = /^(.+):(.+)=(\d+)\/(\d+)$/.exec(text) ?? [];
  const { digest, sizeBytes } = await make(repository, tag, { sizeBytes: Number(size), seed: index + 1, layerCount: Number(layers) });
  images.push({ name: `registry.example/${repository}:${tag}`, digest, sizeBytes });
}
await startMirror(registry.url, { delayMs: Number(delayMs), listen: { host, port: Number(port) } });
console.log(JSON.stringify(images));

/** In a function, so that a gigabyte is not kept when it is pushed. */
async function make(repository: string, tag: string, options: Parameters<typeof makeImage>[0]) {
  const image = makeImage(options);
  await pushImage(registry.url, repository, tag, image);
  return { digest: image.digest, sizeBytes: image.sizeBytes };
}
