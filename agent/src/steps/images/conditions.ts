/** What a node tells about its images; pure. */
import type { ImageState, ImagesSpec } from "@drover/proto";
import type { StepCondition } from "../step.ts";
import { fullName, workFor } from "./diff.ts";
import type { ImagesObserved } from "./observed.ts";
import { PIN_LABEL } from "./pin-label.ts";

const NAMES_SHOWN = 5;

export function imageConditions(spec: ImagesSpec, observed: ImagesObserved): readonly StepCondition[] {
  if (!observed.isLive) {
    const message = "images cannot be looked at in a system that does not run";
    return ["ImagesPresent", "ImagesProtected"].map((type) => ({ type, status: "Unknown", reason: "NotLive", message }));
  }
  return [presence(spec, observed), protection(spec, observed)];
}

function presence(spec: ImagesSpec, observed: ImagesObserved): StepCondition {
  const type = "ImagesPresent";
  const missing = workFor(spec, observed).filter((work) => work.kind === "fetch" || work.kind === "name");
  if (missing.length === 0) return { type, status: "True", reason: "AllPresent", message: `${count(spec.images.length)} of the lock` };
  return {
    type,
    status: "False",
    reason: "Missing",
    message: `${count(missing.length)} missing: ${listed(missing.map((work) => work.name))}`,
  };
}

function protection(spec: ImagesSpec, observed: ImagesObserved): StepCondition {
  const type = "ImagesProtected";
  const wanted = [...new Set(spec.images.filter((image) => image.pinned).map((image) => fullName(image)))];
  if (wanted.length === 0) return { type, status: "True", reason: "NothingToProtect", message: "the lock pins no image" };
  const unlabelled = wanted.filter((name) => observed.records[name]?.labels[PIN_LABEL] !== "pinned");
  if (unlabelled.length > 0) return { type, status: "False", reason: "NotPinned", message: `not pinned: ${listed(unlabelled)}` };
  const hidden = wanted.filter((name) => observed.cri[name]?.isPinned !== true);
  if (hidden.length === 0) return { type, status: "True", reason: "Pinned", message: `CRI shows ${count(wanted.length)} as pinned` };
  if (!observed.showsPins) {
    const message = `containerd ${observed.version} does not tell the kubelet of pins; images that it collects are fetched again at each pass`;
    return { type, status: "False", reason: "RuntimeIgnoresPins", message };
  }
  return { type, status: "False", reason: "NotShownByRuntime", message: `labelled, but CRI does not show the pin: ${listed(hidden)}` };
}

/** What the node holds of its lock, for reports. */
export function imageInventory(spec: ImagesSpec, observed: ImagesObserved): readonly ImageState[] {
  return spec.images.flatMap((image) => {
    const name = fullName(image);
    const record = observed.records[name];
    if (record === undefined) return [];
    const seen = observed.cri[name];
    return [{ name, digest: record.digest, sizeBytes: seen?.sizeBytes ?? 0, pinned: seen?.isPinned ?? false }];
  });
}

export function listed(names: readonly string[], shown = NAMES_SHOWN): string {
  const more = names.length > shown ? ` and ${names.length - shown} more` : "";
  return `${names.slice(0, shown).join(", ")}${more}`;
}

function count(images: number): string {
  return images === 1 ? "1 image" : `${images} images`;
}
