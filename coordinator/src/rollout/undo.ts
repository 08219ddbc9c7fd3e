/** Back to the last good revision: the set is held there, and a rollout of its own moves its nodes, in one commit. Reads only. */
import type { NodeSet } from "@drover/api";
import { type Refusal, refuse } from "../refusal.ts";
import type { Catalog } from "../resources/catalog.ts";
import { contentIn, currentRollout, lastGood, nextRolloutName, resolveSet } from "../resources/revisions.ts";
import { startRollout, surplusRevisions } from "../resources/start-rollout.ts";
import { keys } from "../store/keys.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";

export interface Undoing {
  readonly ok: true;
  readonly operations: readonly StoreOperation[];
  /** metadata.name of the Rollout that is started. */
  readonly started: string;
  /** metadata.name of the Rollout that is taken back, and of the one whose revision comes back. */
  readonly undone: string;
  readonly good: string;
}

const MAX_FORGOTTEN = 50;

/** @param name of the Rollout, or of its NodeSet */
export function undoing(
  catalog: Catalog,
  name: string,
  { actor, uid, nowMs }: { actor: string; uid: string; nowMs: number },
): Undoing | Refusal {
  const rollouts = catalog.objects("Rollout");
  const known = [...rollouts.values()].map(({ value }) => value);
  const setName = rollouts.get(name)?.value.spec.nodeSet ?? name;
  const stored = catalog.objects("NodeSet").get(setName);
  if (stored === undefined) return refuse("NotFound", `there is no Rollout or NodeSet ${JSON.stringify(name)}; see: drover get rollouts`);
  const running = currentRollout(setName, known);
  if (running === undefined) return refuse("NotFound", `NodeSet/${setName} has no rollout to take back`);
  if (rollouts.has(name) && running.metadata.name !== name) {
    const command = `drover rollout undo ${running.metadata.name}`;
    return refuse("RolloutEnded", `Rollout/${name} was superseded; what moves NodeSet/${setName} now is taken back with: ${command}`);
  }
  const good = lastGood(running, known);
  if (good === undefined) {
    return refuse(
      "NotFound",
      `no earlier rollout of NodeSet/${setName} completed at another revision, so that there is nothing to go back to; ` +
        `see: drover rollout history ${setName}; stop this one with: drover rollout abort ${running.metadata.name}`,
    );
  }
  const { value: set, revision } = stored;
  const held: NodeSet = {
    ...set,
    metadata: { ...set.metadata, generation: (set.metadata.generation ?? 0) + 1 },
    spec: { ...set.spec, revision: good.spec.revision },
  };
  const target = resolveSet(held, contentIn(catalog));
  if (!target.ok) return refuse("PlanNotPossible", `NodeSet/${setName} cannot go back to Rollout/${good.metadata.name}: ${target.message}`);
  // A node may remember an old rollout that nobody else does.
  const taken = new Set([...rollouts.keys(), ...[...catalog.desired.values()].map(({ value }) => value.rollout)]);
  const started = nextRolloutName(setName, taken);
  const undone = running.metadata.name;
  const all = { rollouts, revisions: catalog.revisions };
  const { operations } = startRollout(all, { name: started, uid, set: held, target, startedBy: actor, undoOf: undone, nowMs }, running);
  const sets = [...catalog.objects("NodeSet").values()].map(({ value }) => value);
  const surplus = surplusRevisions(all, sets, [good.spec.revision, target.revision]);
  return {
    ok: true,
    operations: [putJson(keys.object("NodeSet", setName), held, revision), ...operations, ...surplus.slice(0, MAX_FORGOTTEN)],
    started,
    undone,
    good: good.metadata.name,
  };
}
