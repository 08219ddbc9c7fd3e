/** Real containerd and registries for tests, each on its own directory and port, none outliving the test. */
export { type DebianContainerd, debianContainerd, type DebianSuite } from "./debian-containerd.ts";
export { type RunningContainerd, startContainerd } from "./start-containerd.ts";
export { type RunningMirror, startMirror } from "./start-mirror.ts";
export { type RunningRegistry, startRegistry } from "./start-registry.ts";
