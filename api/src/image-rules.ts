/** What a list of locked images must hold besides its shape. */
import type { Finding, Path } from "./problems.ts";
import { at, listAt, textAt } from "./raw.ts";

const PATH_COMPONENT = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/;
const REGISTRY = /^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?(:\d{1,5})?$/;

/** @param path of the list */
export function checkImages(json: unknown, path: Path): readonly Finding[] {
  const findings: Finding[] = [];
  const firstOf = new Map<string, number>();
  for (const [index, image] of (listAt(json, path) ?? []).entries()) {
    const name = textAt(image, ["name"]);
    if (name === undefined) continue;
    findings.push(...checkName(name, [...path, index, "name"]));
    const first = firstOf.get(name);
    if (first === undefined) firstOf.set(name, index);
    else {
      const hint = "a name can stand for one digest only: remove one of them";
      findings.push({ path: [...path, index, "name"], at: "value", message: `is already item ${first} of this list`, hint });
    }
    findings.push(...checkSource(image, [...path, index]));
  }
  return findings;
}

/** The runtime stores images under their full names; a short one would never be found again. */
function checkName(name: string, path: Path): readonly Finding[] {
  const finding = (message: string, hint: string): Finding[] => [{ path, at: "value", message, hint }];
  const [registry, ...rest] = name.split("/");
  if (rest.length === 0) return finding("names no registry", `docker.io/library/${name} is what Docker Hub's is called in full`);
  if (!/[.:]/.test(registry!) && registry !== "localhost")
    return finding("names no registry", `docker.io/${name} is what Docker Hub's is called in full`);
  if (registry === "docker.io" && rest.length === 1) return finding("is not the full name", `docker.io/library/${rest[0]} is`);
  const repository = name.slice(registry!.length + 1).replace(/:[^:/]*$/, "");
  if (!REGISTRY.test(registry!)) return finding(`names no registry: ${JSON.stringify(registry)}`, "");
  return repository.split("/").every((component) => PATH_COMPONENT.test(component)) ? [] : finding("is no image reference", "");
}

function checkSource(image: unknown, path: Path): readonly Finding[] {
  const archive = textAt(image, ["archive"]);
  if (archive === undefined) {
    if (at(image, ["size"]) !== 0) return [];
    const hint = "give its compressed size: the disk budget and the progress are reckoned with it";
    return [{ path: [...path, "size"], at: "value", message: "must not be 0 for an image that is pulled", hint }];
  }
  if (!/^\/(proc|sys|dev)(\/|$)/.test(archive)) return [];
  return [
    { path: [...path, "archive"], at: "value", message: "is no place for an archive", hint: "name an OCI archive on a disk of the node" },
  ];
}
