/** The objects, for whoever serves people: reading through the view, writing through admission, one write at a time. */
import type { DroverObject, Kind, Rollout } from "@drover/api";
import { type Clock, type Log, type Random, withDeadline } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import { type Refusal, refuse } from "../refusal.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { type ApplyRequest, planApply } from "./apply.ts";
import type { Catalog } from "./catalog.ts";
import type { MembershipIndex } from "./membership-index.ts";
import { planRemove, type RemoveRequest } from "./remove.ts";
import type { Seen, View } from "./view.ts";

const MAX_ATTEMPTS = 10;
const CATCH_UP_DEADLINE_MS = 10_000;

export interface ResourcesParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly view: View;
  readonly members: MembershipIndex;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface Applied {
  readonly ok: true;
  readonly outcome: "created" | "configured" | "unchanged";
  readonly object: DroverObject;
  readonly resourceVersion: number;
  readonly rollouts: readonly string[];
  readonly affectedNodes: number;
  readonly warnings: readonly string[];
}

export class Resources {
  readonly #parts: ResourcesParts;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: ResourcesParts) {
    this.#parts = parts;
  }

  /**
   * @param isDryRun admitted as ever, but nothing is stored, not even the audit record
   * @param alongside committed with it, or not at all; at most 2
   */
  async apply(request: ApplyRequest, isDryRun: boolean, alongside: readonly StoreOperation[] = []): Promise<Applied | Refusal> {
    return this.#inTurn(async () => {
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
        const plan = planApply(this.#parts, request);
        if (!plan.ok) return isDryRun ? plan : this.#refused(request.actor, "ApplyObject", targetOf(request.json), plan);
        if (!isDryRun && !(await this.#commit([...plan.operations, ...alongside]))) continue;
        const { kind, metadata } = plan.object;
        const seen = isDryRun ? undefined : this.#parts.view.see(kind, metadata.name);
        return {
          ok: true,
          outcome: plan.outcome,
          object: seen?.object ?? plan.object,
          resourceVersion: seen?.revision ?? this.#parts.catalog.object(kind, metadata.name)?.revision ?? 0,
          rollouts: plan.rollouts.map((rollout) => rollout.metadata.name),
          affectedNodes: this.#countNodes(plan.rollouts),
          warnings: [...plan.warnings, ...this.#contestWarnings(plan.object)],
        };
      }
      return refuse("Conflict", "the object keeps changing; try again");
    });
  }

  async remove(request: RemoveRequest, isDryRun: boolean): Promise<{ readonly ok: true; readonly seen: Seen } | Refusal> {
    return this.#inTurn(async () => {
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
        const seen = this.#parts.view.see(request.kind, request.name);
        const plan = planRemove(this.#parts, { ...request, name: seen?.object.metadata.name ?? request.name });
        if (!plan.ok) return isDryRun ? plan : this.#refused(request.actor, "DeleteObject", `${request.kind}/${request.name}`, plan);
        if (isDryRun || (await this.#commit(plan.operations))) return { ok: true, seen: seen! };
      }
      return refuse("Conflict", "the object keeps changing; try again");
    });
  }

  /** Writes the audit record of something refused. */
  async #refused(actor: string, action: string, target: string, refusal: Refusal): Promise<Refusal> {
    const { store, clock, random } = this.#parts;
    const message = `${refusal.reason}: ${refusal.message}`;
    await store.commit([auditOperation({ atMs: clock.now(), actor, action, target, outcome: "refused", message }, random)]);
    return refusal;
  }

  /** @returns false when something changed meanwhile; the catalog has caught up then */
  async #commit(operations: readonly StoreOperation[]): Promise<boolean> {
    const { store, catalog, clock } = this.#parts;
    if (operations.length === 0) return true;
    const committed = await store.commit(operations);
    const revision = committed.ok ? committed.revision : (await store.list("objects/-")).revision;
    await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, undefined, () => catalog.reached(revision));
    return committed.ok;
  }

  /** A dry run of a set is not in the membership yet; its nodes are counted when it is. */
  #countNodes(rollouts: readonly Rollout[]): number {
    const { membersOf } = this.#parts.members.current();
    return rollouts.reduce((count, { spec }) => count + (membersOf.get(spec.nodeSet)?.length ?? 0), 0);
  }

  #contestWarnings(object: DroverObject): string[] {
    const contests = object.kind === "NodeSet" ? (this.#parts.members.current().contestsOf.get(object.metadata.name) ?? []) : [];
    return contests.slice(0, 10).map(({ member, owner }) => `Node/${member.name} stays with NodeSet/${owner}, which is older`);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

/** For the audit log, of something that may not even be an object. */
function targetOf(json: Uint8Array): string {
  try {
    const { kind, metadata } = JSON.parse(Buffer.from(json).toString("utf8")) as { kind?: Kind; metadata?: { name?: unknown } };
    return typeof kind === "string" && typeof metadata?.name === "string" ? `${kind}/${metadata.name}` : "unknown";
  } catch {
    return "unknown";
  }
}
