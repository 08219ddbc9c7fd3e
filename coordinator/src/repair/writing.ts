/** Commits what was decided about repairs, each decision in one commit with the revisions that it was read at. */
import type { NodeSet, Repair, Rung } from "@drover/api";
import { canonicalJson, kubernetesNodeName } from "@drover/api";
import type { Clock, Log, Random } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { Clusters } from "../cluster/clusters.ts";
import { desiredAgain } from "../dispatch/desired-again.ts";
import type { FleetView } from "../fleet/fleet.ts";
import type { DesiredNode } from "../records.ts";
import type { Catalog, Stored } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import { timestamp } from "../resources/node-status.ts";
import { keys } from "../store/keys.ts";
import { MAX_OPERATIONS } from "../store/operations.ts";
import type { StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { CORDON_MS } from "./ladder.ts";
import { REMEDIATION, type RepairDecision } from "./model.ts";
import { asked, begun, climbed, done, ended, judged, notBegun, waiting } from "./progress.ts";
import { holding, type InCluster, isOfRepair, newRepair, nextRepairName, releasing, slotScopes } from "./records.ts";
import { hasEnded, millis, needsPlace, type RepairStatus } from "./standing.ts";

const KEPT_FOR_EACH_NODE = 3;
const MAX_ATTEMPTS = 5;
/** The words of a wait change with every node elsewhere; they are for people. */
const REWORD_AFTER_MS = 30_000;

export interface WritingParts {
  readonly catalog: Catalog;
  readonly fleet: FleetView;
  readonly members: MembershipIndex;
  readonly clusters: () => Pick<Clusters, "kubernetesNodeOf"> | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly decided: (desired: DesiredNode) => void;
}

/** What one look decides from. */
export interface RepairsSeen {
  readonly repairs: Map<string, Stored<Repair>>;
  /** Revisions of the slots by scope; those that we write ourselves move on. */
  readonly slots: Map<string, number>;
}

type Decided<T extends RepairDecision["type"]> = Extract<RepairDecision, { type: T }>;
type Written = Exclude<RepairDecision, { type: "gather" | "run" | "wait" | "askAgain" }>;
type Commit = (operations: readonly StoreOperation[]) => Promise<number | undefined>;

export class RepairWriting {
  readonly #parts: WritingParts;
  readonly #commit: Commit;
  readonly #worded = new Map<string, number>();

  /** @param commit resolves when the catalog has caught up; undefined: somebody else wrote first */
  constructor(parts: WritingParts, commit: Commit) {
    this.#parts = parts;
    this.#commit = commit;
  }

  look(): RepairsSeen {
    const { catalog } = this.#parts;
    const slots = new Map([...catalog.changeSlots].map(([name, { revision }]) => [name === "-" ? "" : name, revision]));
    return { repairs: new Map(catalog.objects("Repair")), slots };
  }

  /** @returns false when somebody else wrote first */
  async write(decision: Written, seen: RepairsSeen, now: number): Promise<boolean> {
    switch (decision.type) {
      case "create":
        return this.#create(decision, seen, now);
      case "begin":
        return this.#begin(decision, seen, now);
      case "hold":
        return this.#hold(decision, now);
      case "ask":
        return this.#ask(decision, seen, now);
      case "done":
        return this.#advance(decision, seen, (status) => done(status, decision.message, now));
      case "judge":
        return this.#advance(decision, seen, (status) => judged(status, decision, now));
      case "climb":
        return this.#advance(decision, seen, (status) => climbed(status, decision.rung, decision.index, now));
      case "clear":
        return this.#advance(decision, seen, (status) => ({ ...status, clearedAt: timestamp(now) }));
      case "end":
        return this.#end(decision, seen, now);
      case "release": {
        const record = this.#parts.catalog.maintenances.get(decision.nodeId);
        return record === undefined || (await this.#commit([releasing(record)])) !== undefined;
      }
    }
  }

  /** Why those that wait do. */
  async tellWaiting(decisions: readonly RepairDecision[], seen: RepairsSeen, now: number): Promise<void> {
    const operations: StoreOperation[] = [];
    for (const decision of decisions) {
      if (decision.type !== "wait" || decision.repair === undefined || operations.length >= MAX_OPERATIONS) continue;
      const stored = seen.repairs.get(decision.repair);
      if (stored === undefined) continue;
      const before = stored.value.status ?? notBegun;
      const isSameReason = before.reason === decision.reason;
      if (isSameReason && (before.message === decision.message || (this.#worded.get(decision.repair) ?? 0) + REWORD_AFTER_MS > now))
        continue;
      this.#worded.set(decision.repair, now);
      operations.push(this.#put(stored, waiting(before, decision)));
    }
    if (operations.length > 0) await this.#commit(operations);
  }

  /** The oldest that ended go, and all of nodes that are no more. */
  async prune({ repairs }: RepairsSeen): Promise<void> {
    const { catalog } = this.#parts;
    const byNode = new Map<string, Stored<Repair>[]>();
    for (const stored of repairs.values()) {
      if (!hasEnded(stored.value)) continue;
      const { node } = stored.value.spec;
      byNode.set(node, [...(byNode.get(node) ?? []), stored]);
    }
    const gone = [...byNode].flatMap(([nodeId, ended]) => {
      const newestFirst = ended.sort((a, b) => (millis(b.value.status?.finishedAt) ?? 0) - (millis(a.value.status?.finishedAt) ?? 0));
      return catalog.nodeRecords.has(nodeId) ? newestFirst.slice(KEPT_FOR_EACH_NODE) : newestFirst;
    });
    const operations = gone.slice(0, MAX_OPERATIONS).map(
      ({ value, revision }): StoreOperation => ({
        type: "delete",
        key: keys.object("Repair", value.metadata.name),
        expectedRevision: revision,
      }),
    );
    for (const { value } of gone) this.#worded.delete(value.metadata.name);
    if (operations.length > 0) await this.#commit(operations);
  }

  /**
   * For answers that come later: what they make of the attempt that they are about, whatever else changed meanwhile.
   * @param attempts how many there were when it was asked
   */
  async answer(name: string, attempts: number, change: (repair: Repair, status: RepairStatus) => RepairStatus): Promise<void> {
    const { catalog } = this.#parts;
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      const stored = catalog.objects("Repair").get(name);
      const status = stored?.value.status;
      if (stored === undefined || status === undefined || hasEnded(stored.value) || status.attempts.length !== attempts) return;
      const next = change(stored.value, status);
      if (next === status || (await this.#commit([this.#put(stored, next)])) !== undefined) return;
    }
  }

  async #create({ nodeId, name, rungs, units, reason }: Decided<"create">, seen: RepairsSeen, now: number): Promise<boolean> {
    const { random, log } = this.#parts;
    const repairName = nextRepairName(name, seen.repairs.keys());
    const spec = { node: nodeId, nodeName: name, rungs: [...rungs], units: [...units], reason, requestedBy: REMEDIATION };
    const repair = newRepair(spec, repairName, random.bytes(8).toString("hex"), timestamp(now));
    const audit = this.#audit("BeginRepair", repair, reason, now);
    const isWritten = await this.#take(repair, 0, rungs[0]!, [audit], seen, now);
    if (isWritten) log.warn({ node: nodeId, repair: repairName, reason }, "a repair begins without being asked");
    return isWritten;
  }

  async #begin({ repair: name, rung }: Decided<"begin">, seen: RepairsSeen, now: number): Promise<boolean> {
    const stored = seen.repairs.get(name);
    if (stored === undefined) return true;
    const isWritten = await this.#take(stored.value, stored.revision, rung, [], seen, now);
    if (isWritten) this.#parts.log.info({ node: stored.value.spec.node, repair: name, rung }, "a repair begins");
    return isWritten;
  }

  /** The Repair begins and has its node's place, in one commit that any other who takes a place in the same scope makes fail (I3). */
  async #take(
    repair: Repair,
    revision: number,
    rung: Rung,
    more: readonly StoreOperation[],
    seen: RepairsSeen,
    now: number,
  ): Promise<boolean> {
    const { catalog } = this.#parts;
    const { name } = repair.metadata;
    const nodeId = repair.spec.node;
    const put = putJson(keys.object("Repair", name), { ...repair, status: begun(rung, now) }, revision);
    const operations = [put, ...more];
    const scopes = needsPlace(repair) ? slotScopes(this.#setOf(nodeId)?.spec.cluster ?? "") : [];
    for (const scope of scopes) {
      operations.push(putJson(keys.changeSlot(scope), { by: `Repair/${name}`, atMs: now }, seen.slots.get(scope) ?? 0));
    }
    if (needsPlace(repair) && !catalog.maintenances.has(nodeId)) {
      operations.push(holding(nodeId, name, this.#inCluster(nodeId), { wanted: "cordon", deadlineAtMs: now + CORDON_MS }, undefined, now));
    }
    const committed = await this.#commit(operations);
    if (committed === undefined) return false;
    for (const scope of scopes) seen.slots.set(scope, committed);
    return true;
  }

  async #hold({ repair, nodeId, wanted, deadlineAtMs }: Decided<"hold">, now: number): Promise<boolean> {
    const held = this.#parts.catalog.maintenances.get(nodeId);
    if (held !== undefined && !isOfRepair(held.value, repair)) return false;
    const operation = holding(nodeId, repair, this.#inCluster(nodeId), { wanted, deadlineAtMs }, held, now);
    return (await this.#commit([operation])) !== undefined;
  }

  async #ask(decision: Decided<"ask">, seen: RepairsSeen, now: number): Promise<boolean> {
    const { repair, nodeId, rung, bootId } = decision;
    const { catalog, log } = this.#parts;
    if (rung !== "Reapply" && rung !== "Rejoin") {
      return this.#advance(decision, seen, (status) => asked(status, bootId, undefined, now));
    }
    const stored = seen.repairs.get(repair);
    const before = catalog.desired.get(nodeId);
    const record = catalog.nodeRecords.get(nodeId);
    if (stored === undefined || before === undefined || record === undefined) return false;
    const count = (record.value.rejoin ?? 0) + 1;
    const nodeName = kubernetesNodeName(this.#parts.fleet.node(nodeId)?.facts);
    const rejoin = rung === "Rejoin" ? { count, nodeName } : undefined;
    const desired = desiredAgain({ before: before.value, planEpoch: catalog.planEpoch.value, rejoin, nowMs: now });
    const operations = [
      this.#put(stored, asked(stored.value.status ?? notBegun, bootId, desired.generation, now)),
      putJson(keys.desired(nodeId), desired, before.revision),
      ...(rejoin === undefined ? [] : [putJson(keys.node(nodeId), { ...record.value, rejoin: count }, record.revision)]),
    ];
    if ((await this.#commit(operations)) === undefined) return false;
    log.info({ node: nodeId, repair, rung, generation: desired.generation }, "a repair gives its node a new generation");
    this.#parts.decided(desired);
    return true;
  }

  async #advance(of: { readonly repair: string }, seen: RepairsSeen, change: (status: RepairStatus) => RepairStatus): Promise<boolean> {
    const stored = seen.repairs.get(of.repair);
    if (stored === undefined) return true;
    const before = stored.value.status ?? notBegun;
    const next = change(before);
    if (canonicalJson(next) === canonicalJson(before)) return true;
    return (await this.#commit([this.#put(stored, next)])) !== undefined;
  }

  async #end(decision: Decided<"end">, seen: RepairsSeen, now: number): Promise<boolean> {
    const { repair: name, nodeId, phase, reason, message } = decision;
    const { catalog, log } = this.#parts;
    const stored = seen.repairs.get(name);
    if (stored === undefined) return true;
    const record = catalog.maintenances.get(nodeId);
    const operations = [
      this.#put(stored, ended(stored.value.status ?? notBegun, decision, now)),
      this.#audit("EndRepair", stored.value, `${phase}, ${reason}: ${message}`, now),
      ...(record !== undefined && isOfRepair(record.value, name) ? [releasing(record)] : []),
    ];
    if ((await this.#commit(operations)) === undefined) return false;
    this.#worded.delete(name);
    log.info({ node: nodeId, repair: name, phase, reason }, "a repair has ended");
    return true;
  }

  #put({ value, revision }: Stored<Repair>, status: RepairStatus): StoreOperation {
    return putJson(keys.object("Repair", value.metadata.name), { ...value, status }, revision);
  }

  #audit(action: string, { metadata, spec }: Repair, message: string, now: number): StoreOperation {
    const target = `Node/${spec.nodeName}`;
    const text = `Repair ${metadata.name}: ${message}`;
    return auditOperation({ atMs: now, actor: REMEDIATION, action, target, outcome: "ok", message: text }, this.#parts.random);
  }

  #setOf(nodeId: string): NodeSet | undefined {
    return this.#parts.members.current().setOf.get(nodeId);
  }

  /** Only where its cluster shows a Node of it: else there is nothing to cordon. */
  #inCluster(nodeId: string): InCluster | undefined {
    return this.#parts.clusters()?.kubernetesNodeOf(nodeId);
  }
}
