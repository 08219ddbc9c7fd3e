/**
 * Programs by digest (kubeadm, kubelet, CNI plugins): versions lie side by side in the store, and a target is a link that is
 * switched by a rename. What was at a target before is kept beside it and goes back when the plan no longer names the target.
 */
import { checkBinaries, KEPT_SUFFIX, malformedBinary } from "@drover/api";
import { type BinariesSpec, type Change, Impact } from "@drover/proto";
import type { Refusal, Step, StepContext } from "../step.ts";
import { checkBudget, fetchBinary } from "./fetch-binary.ts";
import { type BinariesObserved, filesOf, isStored, observeBinaries } from "./observed.ts";
import { readBinariesMemory } from "./binaries-memory.ts";
import { STORE, storedPath, versionOf } from "./store.ts";
import { giveBackTargets, oweForReplaced, prune, restartOwed, switchTargets } from "./switch-over.ts";

export const binariesStep: Step<"binaries", BinariesObserved> = {
  kind: "binaries",
  emptySpec: { binaries: [] },

  observe(spec, context) {
    return faultsOf(spec).length > 0 ? observeBinaries({ binaries: [] }, context) : observeBinaries(spec, context);
  },

  refuse(spec, observed): Refusal | undefined {
    const faults = faultsOf(spec);
    if (faults.length > 0) return { reason: "BinaryNotAllowed", message: faults.join("; ") };
    if (observed.unsafe.length > 0) return { reason: "UnsafeDirectory", message: observed.unsafe.join("; ") };
    return undefined;
  },

  diff(spec, observed) {
    const changes = [...targetChanges(spec, observed), ...leftChanges(spec, observed), ...restartChanges(observed)];
    if (changes.length > 0 || spec.binaries.length > 0 || !observed.hasMemory) return changes;
    return [{ path: STORE, from: `${observed.versions.length} versions`, to: "", impact: Impact.IMPACT_LIVE, note: "" }];
  },

  conditions: () => [],

  async apply(spec, _changes, context) {
    const observed = await binariesStep.observe(spec, context);
    const missing = spec.binaries.filter((binary) => binary.files.some((file) => !observed.stored.includes(storedPath(binary, file))));
    await checkBudget(missing, context);
    await oweForReplaced(missing, observed, context);
    await fetchMissing(spec, context);
    await switchTargets(spec, observed, context);
    await giveBackTargets(spec, observed, context);
    await restartOwed(observed, context);
    await prune(spec, context);
  },
};

/** All is there before anything is switched. */
async function fetchMissing(spec: BinariesSpec, context: StepContext): Promise<void> {
  for (const binary of spec.binaries) {
    context.signal.throwIfAborted();
    const memory = readBinariesMemory(await context.memory.get());
    const missing = [];
    for (const file of binary.files) if (!(await isStored(binary, file, memory, context))) missing.push(file);
    if (missing.length > 0) await fetchBinary(binary, missing, context);
  }
}

function faultsOf(spec: BinariesSpec): readonly string[] {
  const findings = checkBinaries(spec.binaries, []).map(({ path, message }) => {
    const [index, field, fileIndex] = path;
    const binary = spec.binaries[Number(index)];
    const target = field === "files" ? ` ${binary?.files[Number(fileIndex)]?.target ?? ""}` : "";
    return `${binary?.name ?? "a binary"}:${target || ` ${String(field)}`} ${message}`;
  });
  return [...findings, ...spec.binaries.map(malformedBinary).filter((fault) => fault !== undefined)];
}

function targetChanges(spec: BinariesSpec, observed: BinariesObserved): readonly Change[] {
  return filesOf(spec).flatMap(([binary, file]): Change[] => {
    const link = storedPath(binary, file);
    const seen = observed.targets[file.target];
    const isStoredNow = observed.stored.includes(link);
    if (isStoredNow && seen?.link === link && observed.memory.targets[file.target] !== undefined) return [];
    const active = binary.restarts.filter((unit) => observed.activeUnits.includes(unit));
    const isForeign = seen?.isThere === true && versionOf(seen.link) === undefined;
    const notes = [
      ...(isStoredNow ? [] : ["is fetched"]),
      ...(isForeign ? [`what is there is kept as ${file.target}${KEPT_SUFFIX}`] : []),
      ...(active.length > 0 ? [`restarts ${active.join(", ")}`] : []),
    ];
    const impact = active.length > 0 ? Impact.IMPACT_RESTART : Impact.IMPACT_LIVE;
    return [{ path: file.target, from: shownTarget(seen), to: `${binary.name} ${binary.digest}`, impact, note: notes.join("; ") }];
  });
}

function leftChanges(spec: BinariesSpec, observed: BinariesObserved): readonly Change[] {
  const wanted = new Set(filesOf(spec).map(([, { target }]) => target));
  return Object.entries(observed.memory.targets).flatMap(([target, { restarts }]): Change[] => {
    if (wanted.has(target)) return [];
    const seen = observed.targets[target];
    const isOurs = versionOf(seen?.link) !== undefined;
    const active = isOurs ? restarts.filter((unit) => observed.activeUnits.includes(unit)) : [];
    const impact = active.length > 0 ? Impact.IMPACT_RESTART : Impact.IMPACT_LIVE;
    const to = isOurs ? (seen?.isKept === true ? "what was there before" : "") : shownTarget(seen);
    return [
      { path: target, from: shownTarget(seen), to, impact, note: isOurs ? "left the plan" : "left the plan: another's by now, it stays" },
    ];
  });
}

/** Killed between a switch and its restart. */
function restartChanges({ memory, activeUnits }: BinariesObserved): readonly Change[] {
  return memory.owed
    .filter((unit) => activeUnits.includes(unit))
    .map((unit) => ({ path: unit, from: "runs an old program", to: "restarted", impact: Impact.IMPACT_RESTART, note: "" }));
}

function shownTarget(seen: BinariesObserved["targets"][string] | undefined): string {
  if (seen?.isThere !== true) return "";
  const version = versionOf(seen.link);
  if (version !== undefined) return `sha256:${version}`;
  return seen.link === undefined ? "another file" : `a link to ${seen.link}`;
}
