/**
 * Carries decisions out: reads, asks decide(), commits with the revisions it read, and only then hints at the nodes. Woken by the fleet, by the
 * store and by time; a pass that is cut short, doubled or late changes nothing, because the next one starts from what is stored.
 */
import { isDeepStrictEqual } from "node:util";
import { DEFAULT_CONFIRM_DEADLINE, type NodeSet, parseDurationMs, type Rollout } from "@drover/api";
import { type Clock, type Log, sleep, withDeadline } from "@drover/lifecycle";
import { JOINED } from "../cluster/planned-join.ts";
import { type DesiredMaking, makeDesired } from "../dispatch/desired.ts";
import type { DisruptionOf } from "../fleet/disruption.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { DesiredNode } from "../records.ts";
import type { Catalog, CatalogChange } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { Member } from "../resources/membership.ts";
import { restoredText } from "../resources/node-set-status.ts";
import { contentIn, currentRollout, resolveSet } from "../resources/revisions.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { decide } from "./decide.ts";
import { clusterScope, elsewhere } from "./elsewhere.ts";
import { Fleets } from "./fleets.ts";
import type { Decision, Fleet } from "./model.ts";
import { Prospects, type Target } from "./prospects.ts";
import { RestingSets } from "./resting-sets.ts";
import { rolloutImpact } from "./rollout-impact.ts";
import { rolloutInput } from "./rollout-input.ts";
import { begunStatus, failuresBefore, isBegun, paceOf, statusOf } from "./rollout-status.ts";
import { type ClusterEvidence, isEnforced, isInterrupted, isRejoinDue, moveFrom, rejoinOf } from "./situation.ts";
import { resolveStrategy } from "./strategy.ts";
import { WaveGates } from "./wave-gates.ts";
import type { AskWebhook } from "./webhook.ts";
import { isUntouched, portionsOf, slotName, slotOf, takeovers, writesOf } from "./writes.ts";

/** Passes are at least this far apart: a thousand reports in a second are one look. */
const PASS_INTERVAL_MS = 100;
/** Or as far as the longest look of the pass took to decide, up to this: sessions and reports want the loop, too. */
const MAX_REST_MS = 2_000;
/** A look writes no longer than this, or than it took to decide: nodes that fall ill meanwhile are seen by the next one. */
const WRITING_MS = 250;
/** Looked at again although nothing was noticed. */
const RESYNC_MS = 30_000;
/** The same, of sets at rest: nothing is at work there. */
const RESTING_RESYNC_MS = 300_000;
/** How soon a cluster may have been asked once more. */
const GATE_INTERVAL_MS = 5_000;
/** Longer than a grace period of all but the largest fleets. */
const LEARNING_MS = 60_000;
const CATCH_UP_DEADLINE_MS = 10_000;
/** Of more nodes that are moved in one commit the log tells only how many. */
const TOLD_BY_NAME = 20;
const TOUCHING = [keys.allDesired, keys.nodes, keys.maintenances];

export interface ControllerParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly clock: Clock;
  readonly log: Log;
  readonly stepKinds: (nodeId: string) => readonly string[] | undefined;
  readonly disruptionOf: DisruptionOf;
  /** undefined where no cluster is taken into care. */
  readonly clusters: () => ClusterEvidence | undefined;
  readonly askWebhook: AskWebhook;
  /** Monotonic milliseconds until which nothing is decided, as a node may know more than the store; left out: never. */
  readonly heldUntilMs?: () => number;
  /** Committed: the node may be told now. */
  readonly decided: (desired: DesiredNode) => void;
}

/** One set with the rollout that moves it. */
interface Moving {
  readonly set: NodeSet;
  readonly rollout: Rollout;
  readonly target: Target;
  readonly members: readonly Member[];
  readonly fleet: Fleet;
  /** Monotonic. */
  readonly lookedAtMs: number;
}

export class RolloutController {
  readonly #parts: ControllerParts;
  readonly #prospects = new Prospects();
  readonly #fleets: Fleets;
  readonly #resting: RestingSets;
  readonly #gates: WaveGates;
  #ended = new AbortController().signal;
  #isDirty = true;
  #wake: (() => void) | undefined;
  #askAgainAtMs: number | undefined;
  #lastResyncMs = -Infinity;
  /** After the pass that is under way. */
  #restMs = PASS_INTERVAL_MS;
  #lastRestingResyncMs = -Infinity;

  constructor(parts: ControllerParts) {
    this.#parts = parts;
    this.#fleets = new Fleets({ ...parts, prospects: this.#prospects });
    this.#resting = new RestingSets(parts);
    this.#gates = new WaveGates({ ask: parts.askWebhook, clock: parts.clock, log: parts.log, answered: () => this.look() });
  }

  /** Something changed that decisions depend on. @param nodeId where it is one node that neither store nor fleet view told of */
  look(nodeId?: string): void {
    if (nodeId !== undefined) this.#touch(nodeId);
    this.#isDirty = true;
    this.#wake?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { catalog, fleet, clock } = this.#parts;
    this.#ended = signal;
    const look = (): void => this.look();
    const stops = [catalog.onChange((changes) => this.#storeChanged(changes)), fleet.onChange((nodeIds) => this.#fleetChanged(nodeIds))];
    signal.addEventListener("abort", look, { once: true });
    try {
      while (!signal.aborted) {
        await this.#pause();
        if (signal.aborted) return;
        this.#restMs = PASS_INTERVAL_MS;
        await this.#pass();
        await sleep(clock, this.#restMs, signal).catch(() => undefined);
      }
    } finally {
      signal.removeEventListener("abort", look);
      for (const stop of stops) stop();
    }
  }

  #storeChanged(changes: readonly CatalogChange[]): void {
    for (const { key } of changes) {
      const prefix = TOUCHING.find((one) => key.startsWith(one));
      if (prefix !== undefined) this.#touch(key.slice(prefix.length));
    }
    this.look();
  }

  #fleetChanged(nodeIds: readonly string[]): void {
    for (const nodeId of nodeIds) this.#touch(nodeId);
    this.look();
  }

  #touch(nodeId: string): void {
    this.#fleets.touch(nodeId);
    this.#resting.touch(nodeId);
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
    const { catalog, clock } = this.#parts;
    this.#askAgainAtMs = undefined;
    if (clock.monotonicMs() - this.#lastResyncMs >= RESYNC_MS) {
      this.#lastResyncMs = clock.monotonicMs();
      this.#fleets.touchAll();
      this.#fleets.forget((setName) => catalog.objects("NodeSet").has(setName));
      this.#gates.keep([...catalog.objects("Rollout").values()].map(({ value }) => value));
    }
    if (clock.monotonicMs() - this.#lastRestingResyncMs >= RESTING_RESYNC_MS) {
      this.#lastRestingResyncMs = clock.monotonicMs();
      this.#resting.forgetAll();
    }
    for (const { value: set } of catalog.objects("NodeSet").values()) {
      // Read anew for each set: while the one before was committed, this one's rollout may have been superseded.
      const rollout = this.#rolloutOf(set.metadata.name);
      if (rollout === undefined) continue;
      const obstruction = this.#obstruction();
      if (obstruction === undefined) await this.#advance(set, rollout);
      else await this.#standStill(rollout, obstruction);
    }
  }

  #rolloutOf(setName: string): Rollout | undefined {
    const rollouts = [...this.#parts.catalog.objects("Rollout").values()].map(({ value }) => value);
    return currentRollout(setName, rollouts);
  }

  /** Why nothing at all is decided. After an old backup was accepted, nodes first tell which of them are in change. */
  #obstruction(): string | undefined {
    const { catalog, clock } = this.#parts;
    if (catalog.restored !== undefined) return restoredText(catalog.restored.value);
    const heldMs = (this.#parts.heldUntilMs?.() ?? -Infinity) - clock.monotonicMs();
    if (heldMs > 0) {
      this.#askAgain(clock.now() + heldMs);
      return "a node knows a higher generation than the store; others are asked before anything is decided";
    }
    const untilMs = (catalog.restoreAcceptedAtMs ?? -Infinity) + LEARNING_MS;
    if (clock.now() >= untilMs) return undefined;
    this.#askAgain(untilMs);
    return "an old backup was accepted; learning which nodes are in change before anything is decided";
  }

  async #advance(set: NodeSet, rollout: Rollout): Promise<void> {
    const { catalog, clock, members: index } = this.#parts;
    // The set's profile may have changed with a rollout of its own, which is about to supersede this one.
    const target = resolveSet({ ...set, spec: { ...set.spec, profile: rollout.spec.profile } }, contentIn(catalog));
    // Whatever changes the content makes a new rollout in the same commit: this one is about to be superseded.
    if (!target.ok || target.revision !== rollout.spec.revision) return;
    const membership = index.current();
    const { setOf } = membership;
    if (isBegun(rollout) && (await this.#resting.rests(set.metadata.name, membership, rollout, clock.now()))) {
      return this.#fleets.release(set.metadata.name);
    }
    const members = membership.membersOf.get(set.metadata.name) ?? [];
    await this.#fleets.near(set.metadata.name, members, rollout, target);
    // That may have taken long.
    if (this.#rolloutOf(set.metadata.name) !== rollout || index.current() !== membership) return this.look();
    const lookedAtMs = clock.monotonicMs();
    const fleet = this.#fleets.of(set.metadata.name, members, rollout, target);
    const moving: Moving = { set, rollout, target, members, fleet, lookedAtMs };
    if (!isBegun(rollout)) return this.#begin(moving);
    const taken = takeovers(catalog, rollout.metadata.name, (nodeId) => setOf.get(nodeId)?.metadata.name === set.metadata.name);
    if (taken.length > 0) {
      await this.#write([...taken, this.#put(rollout, rollout.status)]);
      return this.look();
    }
    await this.#decide(moving, clock.now());
  }

  /** What is worked out once: before anything is moved, and durable before that. */
  async #begin({ rollout, target, members, fleet }: Moving): Promise<void> {
    const { catalog, fleet: view } = this.#parts;
    const prospective = members.map(({ nodeId, labels }) => {
      const desired = catalog.desired.get(nodeId)?.value;
      const observed = view.node(nodeId);
      const rejoin = rejoinOf(catalog, nodeId);
      const isThere = desired?.revision === target.revision && isEnforced(desired, observed) && !isRejoinDue(desired, rejoin);
      const impact = this.#prospects.impact(moveFrom(desired, observed), target, rejoin, observed);
      return { labels, impact: isThere ? undefined : impact };
    });
    const impact = rolloutImpact(prospective, resolveStrategy(rollout.spec.strategy, members.length));
    const others = [...catalog.objects("Rollout").values()].map(({ value }) => value);
    await this.#write([this.#put(rollout, begunStatus(rollout, impact, failuresBefore(rollout, others, fleet)))]);
    this.look();
  }

  async #decide(moving: Moving, now: number): Promise<void> {
    const { catalog, fleet: view, members: index } = this.#parts;
    const { set, rollout, fleet } = moving;
    const { name } = rollout.metadata;
    const input = rolloutInput({
      catalog,
      set,
      rollout,
      nodeCount: fleet.length,
      hasMoved: fleet.some(({ desired }) => desired?.rollout === name),
      waveGates: this.#gates.answersOf(rollout),
      nowMs: now,
    });
    const others = { catalog, fleet: view, membership: index.current(), rolloutOf: (setName: string) => this.#rolloutOf(setName) };
    const decisions = decide(input, fleet, elsewhere(others, set, input.strategy, now), now);
    for (const decision of decisions) {
      if (decision.type === "askAgain") this.#askAgain(decision.atMs);
      if (decision.type === "askGate") this.#gates.ask(rollout, decision.wave, this.#ended);
    }
    const webhookAtMs = this.#gates.askAgain(rollout, this.#ended);
    if (webhookAtMs !== undefined) this.#askAgain(webhookAtMs);
    if (this.#fleets.isPending(set.metadata.name)) {
      this.#askAgain(now + GATE_INTERVAL_MS);
      if (set.spec.cluster !== undefined) this.#parts.clusters()?.readSoon?.(set.spec.cluster);
    }
    await this.#commit(moving, decisions, now);
  }

  #askAgain(atMs: number): void {
    this.#askAgainAtMs = Math.min(this.#askAgainAtMs ?? Infinity, atMs);
  }

  #make(nodeId: string, { set, rollout, target }: Moving, nowMs: number): DesiredMaking {
    const { catalog, fleet } = this.#parts;
    const observed = fleet.node(nodeId);
    return makeDesired({
      nodeId,
      nodeSet: set.metadata.name,
      rollout: rollout.metadata.name,
      profile: target.profile,
      locks: target.locks,
      membership: target.membership && { ...target.membership, rejoin: rejoinOf(catalog, nodeId) },
      facts: observed?.facts,
      planEpoch: catalog.planEpoch.value,
      ...moveFrom(catalog.desired.get(nodeId)?.value, observed),
      isMember: observed?.conditions.some(({ type, status }) => type === JOINED && status === "True") === true,
      confirmDeadlineMs: parseDurationMs(rollout.spec.strategy.confirmDeadline ?? DEFAULT_CONFIRM_DEADLINE),
      wasInterrupted: isInterrupted(catalog.desired.get(nodeId)?.value, observed),
      nowMs,
    });
  }

  /**
   * The Rollout and, where nodes are brought into change, the cluster's slot are part of each commit: whoever superseded it, or decided at the same time,
   * makes the whole commit fail. What one look has decided stands together, so that a part of it is within every budget too; a look writes for a moment only,
   * because what it saw grows old.
   */
  async #commit(moving: Moving, decisions: readonly Decision[], now: number): Promise<void> {
    const { catalog, clock, log, clusters } = this.#parts;
    const { set, rollout, fleet } = moving;
    const { name } = rollout.metadata;
    const scope = clusterScope(set);
    const status = statusOf(rollout, decisions, now, () => paceOf(name, fleet));
    const { portions, isCut } = portionsOf(decisions, catalog);
    const decidingMs = clock.monotonicMs() - moving.lookedAtMs;
    this.#restMs = Math.min(MAX_REST_MS, Math.max(this.#restMs, decidingMs));
    const isSame = isDeepStrictEqual(status, rollout.status);
    if (portions.length === 0 && isSame) return;
    const untilMs = clock.monotonicMs() + Math.max(WRITING_MS, decidingMs);
    let [slotRevision, isSlotTaken] = [catalog.changeSlots.get(slotName(scope))?.revision ?? 0, false];
    for (const [index, portion] of (portions.length === 0 ? [[]] : portions).entries()) {
      if (index > 0) {
        const isOurs = isDeepStrictEqual(catalog.objects("Rollout").get(name)?.value, { ...rollout, status });
        if (isSlotTaken) {
          const slot = catalog.changeSlots.get(slotName(scope));
          if (slot === undefined || !isDeepStrictEqual(slot.value, slotOf(name, now))) return this.look();
          slotRevision = slot.revision;
        }
        if (!isOurs || clock.monotonicMs() >= untilMs || this.#ended.aborted || this.#obstruction() !== undefined) return this.look();
      }
      if (!isUntouched(portion, catalog)) return this.look();
      const { operations, moved, bringsIntoChange } = writesOf(portion, {
        catalog,
        rolloutName: name,
        kubernetesNodeOf: (nodeId) => clusters()?.kubernetesNodeOf(nodeId),
        make: (nodeId) => this.#make(nodeId, moving, now),
        nowMs: now,
      });
      if (operations.length === 0 && isSame) continue;
      const slot = bringsIntoChange ? [putJson(keys.changeSlot(scope), slotOf(name, now), slotRevision)] : [];
      if (!(await this.#write([...operations, ...slot, this.#put(rollout, status)]))) return;
      isSlotTaken ||= bringsIntoChange;
      for (const each of moved) {
        const { nodeId, generation, revision } = each;
        if (moved.length <= TOLD_BY_NAME) log.info({ node: nodeId, generation, revision, rollout: name }, "node is moved");
        this.#parts.decided(each);
      }
      if (moved.length > TOLD_BY_NAME) log.info({ rollout: name, nodes: moved.length, revision: rollout.spec.revision }, "nodes are moved");
    }
    if (isCut) this.look();
    if (status?.phase !== rollout.status?.phase) {
      log.info({ rollout: name, phase: status?.phase, reason: status?.reason }, "rollout changed its phase");
    }
  }

  async #standStill(rollout: Rollout, message: string): Promise<void> {
    const status = { ...rollout.status!, phase: "Stopped" as const, reason: "RestoredFromBackup", message };
    if (!isDeepStrictEqual(status, rollout.status)) await this.#write([this.#put(rollout, status)]);
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
    try {
      await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, this.#ended, () => catalog.reached(committed.revision));
    } catch (error) {
      // Nobody follows the store any more: what was committed is found there by whoever comes after us.
      if (!this.#ended.aborted) throw error;
      return false;
    }
    return true;
  }
}
