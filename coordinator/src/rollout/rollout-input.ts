/** What decide() is told of one rollout, from its object, its set, the windows and the other sets. Reads only. */
import type { MaintenanceWindow, NodeSet, Rollout } from "@drover/api";
import type { Catalog } from "../resources/catalog.ts";
import { currentRollout } from "../resources/revisions.ts";
import type { RolloutInput } from "./model.ts";
import { openingOf } from "./opening.ts";
import { knownFingerprints } from "./rollout-status.ts";
import { resolveStrategy, spokenOf } from "./strategy.ts";

export interface RolloutInputParts {
  readonly catalog: Pick<Catalog, "objects">;
  readonly set: NodeSet;
  readonly rollout: Rollout;
  readonly nodeCount: number;
  /** Whether a node was moved by it: what was waited for may go on changing. */
  readonly hasMoved: boolean;
  readonly waveGates: RolloutInput["waveGates"];
  readonly nowMs: number;
}

export function rolloutInput({ catalog, set, rollout, nodeCount, hasMoved, waveGates, nowMs }: RolloutInputParts): RolloutInput {
  const { metadata, spec } = rollout;
  return {
    name: metadata.name,
    revision: spec.revision,
    strategy: resolveStrategy(spec.strategy, nodeCount),
    ...spokenOf(rollout),
    opening: cachedOpening(rollout, catalog, nowMs),
    waitsFor: hasMoved ? undefined : waitsFor(set, catalog),
    waveGates,
    knownFingerprints: cachedKnown(rollout),
  };
}

/** The first set that has to be complete before this one begins, in words; undefined: none. */
export function waitsFor({ spec }: NodeSet, catalog: Pick<Catalog, "objects">): string | undefined {
  for (const name of spec.after ?? []) {
    if (!catalog.objects("NodeSet").has(name)) return `NodeSet/${name} does not exist`;
    const rollouts = [...catalog.objects("Rollout").values()].map(({ value }) => value);
    const other = currentRollout(name, rollouts);
    if (other === undefined) return `NodeSet/${name} has no rollout yet`;
    if (other.status?.phase !== "Complete")
      return `NodeSet/${name} is not complete: Rollout/${other.metadata.name} is ${other.status?.phase}`;
  }
  return undefined;
}

const known = new WeakMap<Rollout, ReadonlySet<string>>();

function cachedKnown(rollout: Rollout): ReadonlySet<string> {
  let held = known.get(rollout);
  if (held === undefined) known.set(rollout, (held = knownFingerprints(rollout)));
  return held;
}

interface Opening {
  readonly windows: readonly (MaintenanceWindow | undefined)[];
  readonly fromMs: number;
  readonly untilMs: number;
  readonly opening: RolloutInput["opening"];
}

const openings = new WeakMap<Rollout["spec"]["strategy"], Opening>();
/** A clock that was set is noticed after this. */
const MAX_OPENING_AGE_MS = 60_000;

/** Working out a calendar is dear where windows never close: it is done again when one of them changed, or the time has come. */
function cachedOpening({ spec }: Rollout, catalog: Pick<Catalog, "objects">, nowMs: number): RolloutInput["opening"] {
  const names = spec.strategy.windows ?? [];
  const stored = catalog.objects("MaintenanceWindow");
  const windows = names.map((name) => stored.get(name)?.value);
  const held = openings.get(spec.strategy);
  const isHeld = held !== undefined && held.windows.every((window, index) => window === windows[index]);
  if (isHeld && held.fromMs <= nowMs && nowMs < held.untilMs) return held.opening;
  const opening = openingOf(names, new Map([...stored].map(([name, { value }]) => [name, value])), nowMs);
  const nextMs = opening.isOpen ? opening.closesAtMs : opening.opensAtMs;
  openings.set(spec.strategy, { windows, fromMs: nowMs, untilMs: Math.min(nextMs ?? Infinity, nowMs + MAX_OPENING_AGE_MS), opening });
  return opening;
}
