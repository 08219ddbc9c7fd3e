/** Images for tests, the quickstart and benches: made in code, pushed over HTTP, written as archives. */
export { type BuiltImage, MACHINE_ARCHITECTURE, makeImage, makeIndex, makeProgramImage, sha256 } from "./make-image.ts";
export { pushImage, pushIndex } from "./push-image.ts";
export { makeTar } from "./tar.ts";
export { writeDockerArchive, writeOciArchive } from "./write-archive.ts";
