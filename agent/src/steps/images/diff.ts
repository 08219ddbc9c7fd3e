/** What must be done to have the lock's images, and why it may not be; pure. */
import { type Change, Impact, type ImagesSpec, type LockedImage } from "@drover/proto";
import type { Refusal } from "../step.ts";
import type { ImagesObserved } from "./observed.ts";
import { PIN_LABEL } from "./pin-label.ts";
import { parseImageName } from "./reference.ts";

export type ImageWork =
  /** Its content is missing or not whole. */
  | { readonly kind: "fetch"; readonly image: LockedImage; readonly name: string }
  /** The content is there; the name is missing, points elsewhere, or CRI does not know it. */
  | { readonly kind: "name"; readonly image: LockedImage; readonly name: string }
  | { readonly kind: "pin"; readonly image: LockedImage; readonly name: string }
  | { readonly kind: "unpin"; readonly digest: string; readonly name: string };

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export function refuseImages(spec: ImagesSpec): Refusal | undefined {
  const digests = new Map<string, string>();
  for (const image of spec.images) {
    const name = parseImageName(image.name);
    if (name === undefined) {
      return {
        reason: "InvalidImage",
        message: `${JSON.stringify(image.name)} is no image name with a tag, such as registry.k8s.io/pause:3.9`,
      };
    }
    if (!DIGEST.test(image.digest))
      return { reason: "InvalidImage", message: `${image.name}: its digest must be sha256: and 64 hex digits` };
    if (image.archive !== "" && !isPlainAbsolute(image.archive)) {
      return {
        reason: "InvalidImage",
        message: `${image.name}: its archive must be an absolute path without "..": ${JSON.stringify(image.archive)}`,
      };
    }
    const other = digests.get(name.full);
    if (other !== undefined && other !== image.digest) {
      return {
        reason: "ConflictingImages",
        message: `${image.name} is wanted as ${other} and as ${image.digest}: keep one of them in the lock`,
      };
    }
    digests.set(name.full, image.digest);
  }
  return undefined;
}

/** In the lock's order, unpinning first. */
export function workFor(spec: ImagesSpec, observed: ImagesObserved): readonly ImageWork[] {
  if (!observed.isLive) return [];
  const pinned = new Set(spec.images.filter((image) => image.pinned).map((image) => fullName(image)));
  const unpins = observed.ourPins.flatMap((name): readonly ImageWork[] => {
    const record = observed.records[name];
    return record?.labels[PIN_LABEL] === "pinned" && !pinned.has(name) ? [{ kind: "unpin", digest: record.digest, name }] : [];
  });
  return [...unpins, ...distinct(spec.images).flatMap((image) => workForImage(image, observed))];
}

function workForImage(image: LockedImage, observed: ImagesObserved): readonly ImageWork[] {
  const name = fullName(image);
  const record = observed.records[name];
  if (!observed.complete.has(image.digest)) return [{ kind: "fetch", image, name }];
  if (record?.digest !== image.digest || observed.cri[name] === undefined) return [{ kind: "name", image, name }];
  if (!image.pinned) return [];
  const isShown = observed.cri[name].isPinned || !observed.showsPins;
  return record.labels[PIN_LABEL] === "pinned" && isShown ? [] : [{ kind: "pin", image, name }];
}

export function diffImages(spec: ImagesSpec, observed: ImagesObserved): readonly Change[] {
  return workFor(spec, observed).map((work) => changeOf(work, observed));
}

function changeOf(work: ImageWork, observed: ImagesObserved): Change {
  const impact = Impact.IMPACT_LIVE;
  const from = observed.records[work.name]?.digest ?? "";
  switch (work.kind) {
    case "unpin":
      return { path: `${work.name} pin`, from: "pinned", to: "", impact, note: "left the lock" };
    case "pin": {
      const isLabelled = observed.records[work.name]?.labels[PIN_LABEL] === "pinned";
      const note = isLabelled ? "labelled, but CRI does not show it" : "";
      return { path: `${work.name} pin`, from: "", to: "pinned", impact, note };
    }
    case "fetch":
      return {
        path: work.name,
        from,
        to: work.image.digest,
        impact,
        note: from === work.image.digest ? "not whole: blobs or snapshots are missing" : "",
      };
    case "name":
      return {
        path: work.name,
        from,
        to: work.image.digest,
        impact,
        note: from === work.image.digest ? "CRI does not list it" : "its content is there",
      };
  }
}

export function fullName(image: LockedImage): string {
  return parseImageName(image.name)?.full ?? image.name;
}

/** One of each name; the lock and the profile may both name an image. Pinned by one is pinned. */
function distinct(images: readonly LockedImage[]): readonly LockedImage[] {
  const byName = Map.groupBy(images, (image) => fullName(image));
  return [...byName.values()].map((same) => ({ ...same[0]!, pinned: same.some((image) => image.pinned) }));
}

function isPlainAbsolute(path: string): boolean {
  return path.startsWith("/") && !path.includes("\0") && !path.split("/").includes("..");
}
