/**
 * Carries decisions out: reads, asks decide(), commits with the revisions it read, and only then hints at the nodes. Woken by the fleet, by the
 * store and by time; a pass that is cut short, doubled or late changes nothing, because the next one starts from what is stored.
 */
import { canonicalJson, compile, formatProblem, type NodeSet, type Rollout } from "@drover/api";
import { type Clock, type Log, sleep, withDeadline } from "@drover/lifecycle";
import type { Facts } from "@drover/proto";
import { type DesiredMaking, makeDesired } from "../dispatch/desired.ts";
import { isOlder } from "../dispatch/planned-steps.ts";
import type { DisruptionOf } from "../fleet/disruption.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { DesiredNode } from "../records.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import { restoredText } from "../resources/node-set-status.ts";
import { timestamp } from "../resources/node-status.ts";
import { contentIn, currentRollout, resolveSet, type Resolution } from "../resources/revisions.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { decide } from "./decide.ts";
import type { Decision } from "./model.ts";
import { fleetNode, isRejoinDue, rolloutInput } from "./situation.ts";

/** Passes are at least this far apart: a thousand reports in a second are one look. */
const PASS_INTERVAL_MS = 100;
/** Looked at again although nothing was noticed. */
const RESYNC_MS = 30_000;
/** Longer than a grace period of all but the largest fleets. */
const LEARNING_MS = 60_000;
const MAX_DECISIONS_PER_COMMIT = 90;
const MAX_WAITING_SHOWN = 200;
const CATCH_UP_DEADLINE_MS = 10_000;

export interface ControllerParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly clock: Clock;
  readonly log: Log;
  readonly stepKinds: (nodeId: string) => readonly string[] | undefined;
  readonly disruptionOf: DisruptionOf;
  /** Committed: the node may be told now. */
  readonly decided: (desired: DesiredNode) => void;
}

export class RolloutController {
  readonly #parts: ControllerParts;
  readonly #obstacles = new WeakMap<Facts, { readonly revision: string; readonly message: string | undefined }>();
  #isDirty = true;
  #wake: (() => void) | undefined;
  #askAgainAtMs: number | undefined;

  constructor(parts: ControllerParts) {
    this.#parts = parts;
  }

  /** Something changed that decisions depend on. */
  look(): void {
    this.#isDirty = true;
    this.#wake?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { catalog, fleet, clock } = this.#parts;
    const look = (): void => this.look();
    const stops = [catalog.onChange(look), fleet.onChange(look)];
    signal.addEventListener("abort", look, { once: true });
    try {
      while (!signal.aborted) {
        await this.#pause();
        if (signal.aborted) return;
        await this.#pass();
        await sleep(clock, PASS_INTERVAL_MS, signal).catch(() => undefined);
      }
    } finally {
      signal.removeEventListener("abort", look);
      for (const stop of stops) stop();
    }
  }

  async #pause(): Promise<void> {
    const { clock } = this.#parts;
    const restMs = this.#askAgainAtMs === undefined ? RESYNC_MS : this.#askAgainAtMs - clock.now();
    if (!this.#isDirty && restMs > 0) {
      let cancel: () => void = () => undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        cancel = clock.setTimer(Math.min(restMs, RESYNC_MS), resolve);
      });
      cancel();
      this.#wake = undefined;
    }
    this.#isDirty = false;
  }

  async #pass(): Promise<void> {
    const { catalog } = this.#parts;
    this.#askAgainAtMs = undefined;
    for (const { value: set } of catalog.objects("NodeSet").values()) {
      // Read anew for each set: while the one before was committed, this one's rollout may have been superseded.
      const rollouts = [...catalog.objects("Rollout").values()].map(({ value }) => value);
      const rollout = currentRollout(set.metadata.name, rollouts);
      if (rollout === undefined) continue;
      const obstruction = this.#obstruction();
      if (obstruction === undefined) await this.#advance(set, rollout);
      else await this.#standStill(rollout, obstruction);
    }
  }

  /** Why nothing at all is decided. After an old backup was accepted, nodes first tell which of them are in change. */
  #obstruction(): string | undefined {
    const { catalog, clock } = this.#parts;
    if (catalog.restored !== undefined) return restoredText(catalog.restored.value);
    const untilMs = (catalog.restoreAcceptedAtMs ?? -Infinity) + LEARNING_MS;
    if (clock.now() >= untilMs) return undefined;
    this.#askAgainAtMs = untilMs;
    return "an old backup was accepted; learning which nodes are in change before anything is decided";
  }

  async #advance(set: NodeSet, rollout: Rollout): Promise<void> {
    const { catalog, clock, members } = this.#parts;
    const now = clock.now();
    // The set's profile may have changed with a rollout of its own, which is about to supersede this one.
    const resolution = resolveSet({ ...set, spec: { ...set.spec, profile: rollout.spec.profile } }, contentIn(catalog));
    // Whatever changes the content makes a new rollout in the same commit: this one is about to be superseded.
    if (!resolution.ok || resolution.revision !== rollout.spec.revision) return;
    const own = members.current().membersOf.get(set.metadata.name) ?? [];
    const making = (nodeId: string): DesiredMaking => this.#make(nodeId, set, rollout, resolution, now);
    const obstacle = (nodeId: string): string | undefined => {
      const desired = catalog.desired.get(nodeId)?.value;
      const isThere = desired?.revision === resolution.revision && !isRejoinDue(desired, this.#rejoinOf(nodeId));
      return isThere ? undefined : this.#obstacle(nodeId, resolution);
    };
    const fleet = own.map((member) => fleetNode({ ...this.#parts, obstacle }, member));
    const decisions = decide(rolloutInput(rollout, own.length), fleet, [], now);
    for (const decision of decisions) {
      if (decision.type === "askAgain") this.#askAgainAtMs = Math.min(this.#askAgainAtMs ?? Infinity, decision.atMs);
    }
    await this.#commit(rollout, decisions, making, now);
  }

  /** Why the profile cannot be compiled for this node's facts; remembered, because a set is looked at often and its facts seldom change. */
  #obstacle(nodeId: string, { profile, locks, membership, revision }: Extract<Resolution, { ok: true }>): string | undefined {
    const facts = this.#parts.fleet.node(nodeId)?.facts;
    if (facts === undefined) return undefined;
    const held = this.#obstacles.get(facts);
    if (held?.revision === revision) return held.message;
    const compiled = compile(profile, locks, facts, membership);
    const message = compiled.ok ? undefined : compiled.problems.map(formatProblem).join("; ");
    this.#obstacles.set(facts, { revision, message });
    return message;
  }

  #make(nodeId: string, set: NodeSet, rollout: Rollout, resolution: Extract<Resolution, { ok: true }>, nowMs: number): DesiredMaking {
    const { catalog, fleet } = this.#parts;
    const before = catalog.desired.get(nodeId)?.value;
    const observed = fleet.node(nodeId);
    return makeDesired({
      nodeId,
      nodeSet: set.metadata.name,
      rollout: rollout.metadata.name,
      profile: resolution.profile,
      locks: resolution.locks,
      membership: resolution.membership && { ...resolution.membership, rejoin: this.#rejoinOf(nodeId) },
      facts: observed?.facts,
      planEpoch: catalog.planEpoch.value,
      before,
      isBeforeEnforced:
        before !== undefined &&
        observed?.outcome === "enforced" &&
        !isOlder({ planEpoch: observed.planEpoch, generation: observed.observedGeneration }, before),
      nowMs,
    });
  }

  #rejoinOf(nodeId: string): number {
    return this.#parts.catalog.nodeRecords.get(nodeId)?.value.rejoin ?? 0;
  }

  /** The Rollout is part of every commit that moves a node: whoever supersedes it meanwhile makes the whole commit fail. */
  async #commit(rollout: Rollout, decisions: readonly Decision[], making: (nodeId: string) => DesiredMaking, now: number): Promise<void> {
    const { catalog, log } = this.#parts;
    const moved: DesiredNode[] = [];
    const operations: StoreOperation[] = [];
    for (const decision of decisions) {
      if (operations.length >= MAX_DECISIONS_PER_COMMIT) {
        this.look();
        break;
      }
      if (decision.type !== "move" && decision.type !== "settle") continue;
      const stored = catalog.desired.get(decision.nodeId);
      if (decision.type === "settle") {
        if (stored !== undefined)
          operations.push(putJson(keys.desired(decision.nodeId), { ...stored.value, enforcedAtMs: now }, stored.revision));
        continue;
      }
      const made = making(decision.nodeId);
      if (!made.ok) continue;
      moved.push(made.desired);
      operations.push(putJson(keys.desired(decision.nodeId), made.desired, stored?.revision ?? 0));
    }
    const status = statusOf(rollout, decisions, now);
    const isSame = canonicalJson(status) === canonicalJson(rollout.status);
    if (operations.length === 0 && isSame) return;
    operations.push(this.#put(rollout, status));
    if (!(await this.#write(operations))) return;
    for (const desired of moved) {
      const { nodeId, generation, revision } = desired;
      log.info({ node: nodeId, generation, revision, rollout: rollout.metadata.name }, "node is moved");
      this.#parts.decided(desired);
    }
    if (status?.phase !== rollout.status?.phase) {
      log.info({ rollout: rollout.metadata.name, phase: status?.phase, reason: status?.reason }, "rollout changed its phase");
    }
  }

  async #standStill(rollout: Rollout, message: string): Promise<void> {
    const status = { ...rollout.status!, phase: "Stopped" as const, reason: "RestoredFromBackup", message };
    if (canonicalJson(status) !== canonicalJson(rollout.status)) await this.#write([this.#put(rollout, status)]);
  }

  #put(rollout: Rollout, status: Rollout["status"]): StoreOperation {
    const { name } = rollout.metadata;
    return putJson(keys.object("Rollout", name), { ...rollout, status }, this.#parts.catalog.objects("Rollout").get(name)?.revision ?? 0);
  }

  /** @returns false when somebody else wrote first; the next pass looks again */
  async #write(operations: readonly StoreOperation[]): Promise<boolean> {
    const { store, catalog, clock } = this.#parts;
    const committed = await store.commit(operations);
    if (!committed.ok) {
      this.look();
      return false;
    }
    await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, undefined, () => catalog.reached(committed.revision));
    return true;
  }
}

function statusOf(rollout: Rollout, decisions: readonly Decision[], now: number): Rollout["status"] {
  const progress = decisions.find((decision) => decision.type === "progress");
  if (progress === undefined) return rollout.status;
  const { phase, reason, message, total, updated, inChange, failed } = progress;
  const waiting = decisions.flatMap((decision) =>
    decision.type === "wait" ? [{ node: decision.name, reason: decision.reason, message: decision.message }] : [],
  );
  const before = rollout.status;
  const finishedAt = phase === "Complete" ? (before?.phase === "Complete" ? before.finishedAt : timestamp(now)) : undefined;
  return {
    phase,
    reason,
    message,
    total,
    updated,
    inChange,
    failed,
    waiting: waiting.slice(0, MAX_WAITING_SHOWN),
    ...(before?.startedAt === undefined ? {} : { startedAt: before.startedAt }),
    ...(finishedAt === undefined ? {} : { finishedAt }),
    observedGeneration: rollout.metadata.generation ?? 1,
  };
}
