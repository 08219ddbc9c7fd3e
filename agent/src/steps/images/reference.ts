/** Image names as docker references are read: what containerd and CRI call an image that a lock names shortly. Pure. */

export interface ImageName {
  /** "docker.io", "10.0.0.5:5000". */
  readonly registry: string;
  /** "library/busybox". */
  readonly repository: string;
  readonly tag: string;
  /** "docker.io/library/busybox:1": the name in containerd, and the tag in CRI. */
  readonly full: string;
}

const REPOSITORY = /^[a-z0-9]+([._-]+[a-z0-9]+)*(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const REGISTRY = /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$/;
const MAX_LENGTH = 255;

/** undefined: no reference with a tag and without a digest. */
export function parseImageName(text: string): ImageName | undefined {
  const colon = text.lastIndexOf(":");
  if (colon < 0 || text.length > MAX_LENGTH) return undefined;
  const tag = text.slice(colon + 1);
  const { registry, repository } = splitRegistry(text.slice(0, colon));
  if (!TAG.test(tag) || !REPOSITORY.test(repository) || !REGISTRY.test(registry)) return undefined;
  return { registry, repository, tag, full: `${registry}/${repository}:${tag}` };
}

function splitRegistry(path: string): { readonly registry: string; readonly repository: string } {
  const slash = path.indexOf("/");
  const first = path.slice(0, Math.max(0, slash));
  const isHost = first.includes(".") || first.includes(":") || first === "localhost";
  const registry = !isHost || first === "index.docker.io" ? "docker.io" : first;
  const repository = isHost ? path.slice(slash + 1) : path;
  return { registry, repository: registry === "docker.io" && !repository.includes("/") ? `library/${repository}` : repository };
}
