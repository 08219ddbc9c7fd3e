/** What operators ask of rollouts, carried out: each change in one commit with its audit record and the revisions that were read; refusals are recorded, too. */
import type { Rollout } from "@drover/api";
import { type Clock, type Log, type Random, withDeadline } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { FleetView } from "../fleet/fleet.ts";
import { Refused, type Refusal, refuse } from "../refusal.ts";
import type { Catalog, Stored } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { Seen, View } from "../resources/view.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { approvalChange } from "./approve.ts";
import { forecasts } from "./forecasts.ts";
import type { RolloutCalls } from "./rollout-calls.ts";
import { type SpecChange, specChanges, VERBS, type Verb } from "./rollout-verbs.ts";
import { undoing } from "./undo.ts";

export interface RolloutCallsParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly view: View;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface Change {
  readonly ok: true;
  /** Empty: it is so already. */
  readonly operations: readonly StoreOperation[];
  /** metadata.name of the Rollout that is changed. */
  readonly name: string;
  /** For the audit log. */
  readonly message: string;
  readonly started?: string;
}

const MAX_ATTEMPTS = 10;
const MAX_REASON = 512;
const CATCH_UP_DEADLINE_MS = 10_000;
const ACTIONS: { readonly [V in Verb]: string } = {
  pause: "PauseRollout",
  resume: "ResumeRollout",
  promote: "PromoteRollout",
  abort: "AbortRollout",
  undo: "UndoRollout",
  retry: "RetryRollout",
};

export function createRolloutCalls(parts: RolloutCallsParts): RolloutCalls {
  const { catalog, members, clock, random } = parts;
  return {
    async control({ name, verb: asked, reason, confirmedNodes }, actor) {
      const verb = VERBS[asked];
      if (verb === undefined) throw invalid("verb must be pause, resume, promote, abort, undo or retry");
      if (confirmedNodes !== 0 && verb !== "resume") throw invalid(`confirmed_nodes is of resume; ${verb} takes none`);
      const call: Call = { name, reason, actor, action: ACTIONS[verb] };
      const changed = await change(parts, call, () => {
        if (verb === "undo") return undo(parts, name, actor);
        return changeSpec(catalog, name, (rollout) => {
          const nodes = members.current().membersOf.get(rollout.spec.nodeSet)?.length ?? 0;
          return specChanges[verb]({ rollout, confirmedNodes, nodes, nowMs: clock.now() });
        });
      });
      return { object: seen(parts, changed.name), started: changed.started ?? "" };
    },
    async approve({ name, wave, digest, reason }, actor) {
      if (!/^sha256:[0-9a-f]{64}$/.test(digest)) {
        const command = `drover rollout approve ${name} --wave ${wave}`;
        throw invalid(`digest must be the wave's, sha256: and 64 hex digits; it is shown by: ${command}`);
      }
      const call: Call = { name, reason, actor, action: "ApproveRollout" };
      const changed = await change(parts, call, () =>
        changeSpec(catalog, name, (rollout) => approvalChange(rollout, { wave, digest }, actor, clock.now())),
      );
      return seen(parts, changed.name);
    },
    forecast: (request) => forecasts(parts, request),
  };

  function undo({ catalog: all }: RolloutCallsParts, name: string, actor: string): Change | Refusal {
    const plan = undoing(all, name, { actor, uid: random.bytes(16).toString("hex"), nowMs: clock.now() });
    if (!plan.ok) return plan;
    const message = `starts Rollout/${plan.started}, back to what Rollout/${plan.good} had completed`;
    return { ok: true, operations: plan.operations, name: plan.undone, message, started: plan.started };
  }
}

interface Call {
  readonly name: string;
  readonly reason: string;
  readonly actor: string;
  readonly action: string;
}

function changeSpec(catalog: Catalog, name: string, changeOf: (rollout: Rollout) => SpecChange): Change | Refusal {
  const stored: Stored<Rollout> | undefined = catalog.objects("Rollout").get(name);
  if (stored === undefined) return refuse("NotFound", `there is no Rollout ${JSON.stringify(name)}; see: drover get rollouts`);
  const { value: rollout, revision } = stored;
  const changed = changeOf(rollout);
  if (!changed.ok) return changed;
  if (changed.spec === rollout.spec) return { ok: true, operations: [], name, message: "" };
  const metadata = { ...rollout.metadata, generation: (rollout.metadata.generation ?? 1) + 1 };
  const operation = putJson(keys.object("Rollout", name), { ...rollout, metadata, spec: changed.spec }, revision);
  return { ok: true, operations: [operation], name, message: changed.message };
}

async function change(parts: RolloutCallsParts, call: Call, plan: () => Change | Refusal): Promise<Change> {
  const { store, clock, random, log } = parts;
  const { name, reason, actor, action } = call;
  if (reason.length > MAX_REASON) throw invalid(`reason is longer than ${MAX_REASON} characters`);
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const planned = restoredRefusal(parts) ?? plan();
    const entry = { atMs: clock.now(), actor, action, target: `Rollout/${planned.ok ? planned.name : name}` } as const;
    if (!planned.ok) {
      const message = `${planned.reason}: ${planned.message}`;
      await store.commit([auditOperation({ ...entry, outcome: "refused", message }, random)]);
      throw new Refused(planned);
    }
    if (planned.operations.length === 0) return planned;
    const message = [planned.message, reason].filter((part) => part !== "").join(": ");
    const audit = auditOperation({ ...entry, outcome: "ok", message }, random);
    if (!(await commit(parts, [...planned.operations, audit]))) continue;
    log.info({ rollout: planned.name, actor, action }, "an operator changes a rollout");
    return planned;
  }
  throw new Refused(refuse("Conflict", `Rollout/${name} keeps changing; try again`));
}

function restoredRefusal({ catalog }: RolloutCallsParts): Refusal | undefined {
  if (catalog.restored === undefined) return undefined;
  return refuse(
    "RestoredFromBackup",
    "all decisions have stopped: the store is a backup; accept it with: drover-coordinator restore --accept",
  );
}

/** @returns false when something changed meanwhile; the catalog has caught up then */
async function commit({ store, catalog, clock }: RolloutCallsParts, operations: readonly StoreOperation[]): Promise<boolean> {
  const committed = await store.commit(operations);
  const revision = committed.ok ? committed.revision : (await store.list("objects/-")).revision;
  await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, undefined, () => catalog.reached(revision));
  return committed.ok;
}

function seen({ view }: RolloutCallsParts, name: string): Seen {
  const found = view.see("Rollout", name);
  if (found === undefined) throw new Refused(refuse("NotFound", `Rollout ${JSON.stringify(name)} was deleted meanwhile`));
  return found;
}

function invalid(message: string): Refused {
  return new Refused(refuse("InvalidRequest", message));
}
