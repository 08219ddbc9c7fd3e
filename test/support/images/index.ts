/** Images for tests, the quickstart and benches: made in code, pushed over HTTP, written as archives. */
export { type BuiltImage, type ImageOptions, makeImage, sha256 } from "./make-image.ts";
export { pushImage } from "./push-image.ts";
export { makeTar, type TarFile } from "./tar.ts";
export { writeDockerArchive, writeOciArchive } from "./write-archive.ts";
