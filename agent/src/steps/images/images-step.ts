/** Images of the lock: present by digest, unpacked, named, and pinned against the kubelet's garbage collection. */
import { sleep } from "@drover/lifecycle";
import type { ImagesSpec, LockedImage } from "@drover/proto";
import { ContainerdError } from "../../host/containerd-port.ts";
import { type Step, type StepContext, StepError } from "../step.ts";
import { imageConditions, listed } from "./conditions.ts";
import { diffImages, fullName, type ImageWork, refuseImages, workFor } from "./diff.ts";
import { overBudget } from "./disk-budget.ts";
import { type FetchFailure, fetchImages, transfersFor } from "./fetch-images.ts";
import { type ImagesObserved, observeImages } from "./observed.ts";
import { PIN_LABEL } from "./pin-label.ts";

/** CRI learns of names and labels by events, a moment later. */
const CRI_CATCHES_UP_MS = 10_000;
const CRI_POLL_MS = 50;
const FAILURES_SHOWN = 20;

export const imagesStep: Step<"images", ImagesObserved> = {
  kind: "images",
  emptySpec: { images: [], maxParallel: 0, maxParallelPerRegistry: 0, minFreeBytes: 0 },
  observe: observeImages,
  refuse: refuseImages,
  diff: diffImages,
  conditions: imageConditions,

  async apply(spec, _changes, context) {
    const observed = await observeImages(spec, context);
    if (!observed.isLive) return;
    const works = workFor(spec, observed);
    await rememberPins([...observed.ourPins, ...works.flatMap((work) => (willPin(work, observed) ? [work.name] : []))], context);
    const failures = [...(await changeNames(works, context)), ...(await fetchWithinBudget(spec, works, observed, context))];
    await rememberPins(await stillOurs(spec, context), context);
    await criHasCaughtUp(spec, context);
    if (failures.length === 0) return;
    const message = listed(
      failures.map((failure) => `${failure.name}: ${failure.message}`),
      FAILURES_SHOWN,
    );
    throw new StepError("PullFailed", `${failures.length} of ${works.length}: ${message}`, true);
  },
};

/** What somebody else pinned before us stays pinned when it leaves the lock. */
function willPin(work: ImageWork, observed: ImagesObserved): boolean {
  return work.kind !== "unpin" && work.image.pinned && observed.records[work.name]?.labels[PIN_LABEL] !== "pinned";
}

async function rememberPins(names: readonly string[], context: StepContext): Promise<void> {
  const pins = [...new Set(names)].sort();
  const before = await context.memory.get();
  const after = pins.length === 0 ? undefined : { pins };
  if (JSON.stringify(before) !== JSON.stringify(after)) await context.memory.set(after);
}

/** After unpinning: only what the lock still pins. */
async function stillOurs(spec: ImagesSpec, context: StepContext): Promise<readonly string[]> {
  const { ourPins, records } = await observeImages(spec, context);
  const wanted = new Set(spec.images.filter((image) => image.pinned).map((image) => fullName(image)));
  return ourPins.filter((name) => wanted.has(name) || records[name]?.labels[PIN_LABEL] === "pinned");
}

async function changeNames(works: readonly ImageWork[], context: StepContext): Promise<readonly FetchFailure[]> {
  const failures: FetchFailure[] = [];
  for (const work of works) {
    if (work.kind === "fetch") continue;
    try {
      if (work.kind === "unpin") await unpin(work.name, work.digest, context);
      else await giveName(work.image, context);
      context.say(`${work.name}: ${work.kind === "unpin" ? "unpinned" : `named and ${work.image.pinned ? "pinned" : "not pinned"}`}`);
    } catch (error) {
      if (!(error instanceof ContainerdError)) throw error;
      failures.push({ name: work.name, message: `${error.code}: ${error.message}` });
    }
  }
  return failures;
}

async function unpin(name: string, digest: string, context: StepContext): Promise<void> {
  await context.host.containerd.putImage(name, digest, { [PIN_LABEL]: undefined }, context.signal);
}

async function giveName(image: LockedImage, context: StepContext): Promise<void> {
  const labels = image.pinned ? { [PIN_LABEL]: "pinned" } : {};
  await context.host.containerd.putImage(fullName(image), image.digest, labels, context.signal);
}

async function fetchWithinBudget(
  spec: ImagesSpec,
  works: readonly ImageWork[],
  observed: ImagesObserved,
  context: StepContext,
): Promise<readonly FetchFailure[]> {
  const transfers = transfersFor(works);
  if (transfers.length === 0) return [];
  const missingBytes = transfers.reduce((sum, transfer) => sum + transfer.sizeBytes, 0);
  const problem = overBudget({ missingBytes, minFreeBytes: spec.minFreeBytes, freeBytes: observed.freeBytes });
  if (problem !== undefined) throw new StepError("DiskBudget", problem, true);
  return fetchImages(spec, transfers, (image) => giveName(image, context), context);
}

/** Until CRI lists what was named, and its pins where it knows them; what it does not show in time, reading back will tell. */
async function criHasCaughtUp(spec: ImagesSpec, context: StepContext): Promise<void> {
  const { clock, host, signal } = context;
  const mayShowPins = !isBefore17(await host.containerd.version(signal));
  const givenUpAtMs = clock.monotonicMs() + CRI_CATCHES_UP_MS;
  const records = await host.containerd.listImages(signal);
  const named = new Set(records.map((record) => record.name));
  const expected = spec.images.filter((image) => named.has(fullName(image)));
  for (;;) {
    const images = await host.containerd.listCriImages(signal);
    const isSeen = (image: LockedImage): boolean =>
      images.some((each) => each.repoTags.includes(fullName(image)) && (each.isPinned || !image.pinned || !mayShowPins));
    if (expected.every((image) => isSeen(image)) || clock.monotonicMs() >= givenUpAtMs) return;
    await sleep(clock, CRI_POLL_MS, signal);
  }
}

function isBefore17(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major < 1 || (major === 1 && minor < 7);
}
