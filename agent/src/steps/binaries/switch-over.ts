/** Targets: switched to the store, given back, and what runs an old program restarted. Each change is remembered before it is made. */
import { KEPT_SUFFIX, mayRestart } from "@drover/api";
import type { BinariesSpec, Binary } from "@drover/proto";
import { type StepContext, StepError } from "../step.ts";
import { type BinariesMemory, readBinariesMemory, without } from "./binaries-memory.ts";
import { type BinariesObserved, filesOf } from "./observed.ts";
import { isVersion, STORE, storedPath, versionOf } from "./store.ts";

/** All that the spec asks for is in the store. */
export async function switchTargets(spec: BinariesSpec, observed: BinariesObserved, context: StepContext): Promise<void> {
  const { files } = context.host;
  for (const [binary, { member, target }] of filesOf(spec)) {
    context.signal.throwIfAborted();
    const link = storedPath(binary, { member, target });
    const memory = await recall(context);
    const before = memory.targets[target];
    const seen = observed.targets[target];
    const isLinked = seen?.link === link;
    if (isLinked && before?.link === link && before.restarts.join() === binary.restarts.join()) continue;
    const isForeign = seen?.isThere === true && versionOf(seen.link) === undefined;
    const previous = before === undefined || before.link === link ? before?.previous : before.link;
    const hasKept = isForeign || before?.hasKept === true;
    const active = binary.restarts.filter((unit) => observed.activeUnits.includes(unit));
    await context.memory.set({
      ...memory,
      targets: {
        ...memory.targets,
        [target]: { link, ...(previous === undefined ? {} : { previous }), hasKept, restarts: binary.restarts },
      },
      owed: isLinked ? memory.owed : [...new Set([...memory.owed, ...active])],
    });
    if (isLinked) continue;
    // A second name first: there is no moment in which nothing is at target.
    if (isForeign) await files.writeHardLink(target, `${target}${KEPT_SUFFIX}`);
    await files.writeLink(target, link);
    context.say(`${target} is ${binary.name} ${binary.digest}`);
  }
}

/** What is fetched anew under a link that is there already (somebody changed it) is run by nobody until its units start again. */
export async function oweForReplaced(missing: readonly Binary[], observed: BinariesObserved, context: StepContext): Promise<void> {
  const replaced = missing.filter((binary) =>
    binary.files.some((file) => observed.targets[file.target]?.link === storedPath(binary, file)),
  );
  const active = replaced.flatMap(({ restarts }) => restarts).filter((unit) => observed.activeUnits.includes(unit));
  if (active.length === 0) return;
  const memory = await recall(context);
  await context.memory.set({ ...memory, owed: [...new Set([...memory.owed, ...active])] });
}

/** What the plan no longer names. */
export async function giveBackTargets(spec: BinariesSpec, observed: BinariesObserved, context: StepContext): Promise<void> {
  const wanted = new Set(filesOf(spec).map(([, { target }]) => target));
  const { files } = context.host;
  for (const [target, { hasKept, restarts }] of Object.entries((await recall(context)).targets)) {
    if (wanted.has(target)) continue;
    context.signal.throwIfAborted();
    const memory = await recall(context);
    const active = restarts.filter((unit) => observed.activeUnits.includes(unit));
    const isOurs = versionOf(await files.readLink(target)) !== undefined;
    const isGone = (await files.stat(target)) === undefined;
    const kept = `${target}${KEPT_SUFFIX}`;
    const isKept = hasKept && (await files.stat(kept)) !== undefined;
    if (isOurs) await context.memory.set({ ...memory, owed: [...new Set([...memory.owed, ...active])] });
    if (isKept && (isOurs || isGone)) await files.rename(kept, target);
    else if (isOurs) await files.remove(target);
    // Killed between keeping it and switching: two names of one file.
    else if (isKept && (await files.identity(kept))?.version === (await files.identity(target))?.version) await files.remove(kept);
    const after = await recall(context);
    await context.memory.set({ ...after, targets: without(after.targets, (each) => each === target) });
    context.say(isKept ? `${target} is what it was before` : `${target} is no longer ours`);
  }
}

/** @throws StepError RestartFailed */
export async function restartOwed(observed: BinariesObserved, context: StepContext): Promise<void> {
  for (const unit of (await recall(context)).owed) {
    context.signal.throwIfAborted();
    if (observed.isLive && mayRestart(unit)) await restart(unit, context);
    const memory = await recall(context);
    await context.memory.set({ ...memory, owed: memory.owed.filter((each) => each !== unit) });
  }
}

async function restart(unit: string, context: StepContext): Promise<void> {
  const { host, signal } = context;
  try {
    if (!(await host.units.isActive(unit, signal))) return;
    await host.units.restart(unit, signal);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "UNIT_FAILED") throw error;
    throw new StepError("RestartFailed", `${unit} runs an old program still: ${(error as Error).message}`, true);
  }
  context.say(`restarted ${unit}`);
}

/** Keeps what targets lead to, and what each led to before. */
export async function prune(spec: BinariesSpec, context: StepContext): Promise<void> {
  const memory = await recall(context);
  const links = Object.values(memory.targets).flatMap(({ link, previous }) => [link, previous]);
  const used = new Set([...links, ...filesOf(spec).map(([binary, file]) => storedPath(binary, file))].map(versionOf));
  const { files } = context.host;
  for (const version of (await files.list(STORE)).filter(isVersion)) {
    if (!used.has(version)) await files.removeTree(`${STORE}/${version}`);
  }
  await files.removeTree(`${STORE}/incoming`);
  const verified = without(memory.verified, (path) => !used.has(versionOf(path)));
  const isNothing = Object.keys(memory.targets).length + memory.owed.length === 0 && spec.binaries.length === 0;
  if (isNothing) await context.memory.set(undefined);
  else if (Object.keys(verified).length < Object.keys(memory.verified).length) await context.memory.set({ ...memory, verified });
}

async function recall(context: StepContext): Promise<BinariesMemory> {
  return readBinariesMemory(await context.memory.get());
}
