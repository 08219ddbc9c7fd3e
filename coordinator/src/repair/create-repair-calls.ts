/** What operators ask of repairs: begins them, calls them off, hands their evidence out. Each commits what it changes together with its audit record. */
import type { Repair } from "@drover/api";
import { type Clock, type Log, type Random, withDeadline } from "@drover/lifecycle";
import type { CreateRepairsRequest } from "@drover/proto";
import { auditOperation } from "../audit/audit.ts";
import type { AuditEntry } from "../records.ts";
import { type Refusal, Refused, refuse } from "../refusal.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import { timestamp } from "../resources/node-status.ts";
import type { Seen, View } from "../resources/view.ts";
import { keys } from "../store/keys.ts";
import { MAX_OPERATIONS } from "../store/operations.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson } from "../store/values.ts";
import { type EvidenceStore, MAX_BUNDLE_BYTES } from "./evidence-store.ts";
import type { NodeRequests } from "./node-side.ts";
import { notBegun } from "./progress.ts";
import { newRepair, nextRepairName } from "./records.ts";
import type { RepairCalls } from "./repair-calls.ts";
import { repairsAsked } from "./repairs-asked.ts";
import { hasEnded } from "./standing.ts";

export interface RepairCallsParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly members: MembershipIndex;
  readonly view: View;
  readonly requests: Pick<NodeRequests, "collectEvidence">;
  readonly evidence: EvidenceStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Two operations for each, and slack. */
const REPAIRS_PER_COMMIT = Math.floor((MAX_OPERATIONS - 10) / 2);
const MAX_ATTEMPTS = 10;
const CATCH_UP_DEADLINE_MS = 10_000;
const CHUNK_BYTES = 32 * 1024;

export function createRepairCalls(parts: RepairCallsParts): RepairCalls {
  return new Calls(parts);
}

class Calls implements RepairCalls {
  readonly #parts: RepairCallsParts;

  constructor(parts: RepairCallsParts) {
    this.#parts = parts;
  }

  async create(request: CreateRepairsRequest, isDryRun: boolean, actor: string): Promise<readonly Seen[]> {
    const { catalog, random, clock, log } = this.#parts;
    const asked = repairsAsked(this.#parts, request, actor);
    if (!asked.ok) {
      const target = request.nodes.length === 1 ? `Node/${request.nodes[0]}` : "Node";
      if (!isDryRun) await this.#refused("CreateRepair", target, actor, asked);
      throw new Refused(asked);
    }
    const taken = new Set(catalog.objects("Repair").keys());
    const repairs = asked.specs.map((spec): Repair => {
      const name = nextRepairName(spec.nodeName, taken);
      taken.add(name);
      return { ...newRepair(spec, name, random.bytes(8).toString("hex"), timestamp(clock.now())), status: notBegun };
    });
    if (isDryRun) return repairs.map((object) => ({ object, revision: 0, labels: {} }));
    for (let start = 0; start < repairs.length; start += REPAIRS_PER_COMMIT) {
      await this.#store(repairs.slice(start, start + REPAIRS_PER_COMMIT), start, actor);
    }
    log.info({ actor, repairs: repairs.length, rungs: repairs[0]?.spec.rungs }, "an operator asks for repairs");
    return repairs.map(({ metadata }) => this.#seen(metadata.name));
  }

  async cancel(name: string, actor: string): Promise<Seen> {
    const { catalog } = this.#parts;
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      const stored = catalog.objects("Repair").get(name);
      const refusal = stored === undefined ? unknownRepair(name) : hasEnded(stored.value) ? over(stored.value) : undefined;
      if (stored === undefined || refusal !== undefined) {
        await this.#refused("CancelRepair", `Repair/${name}`, actor, refusal ?? unknownRepair(name));
        throw new Refused(refusal ?? unknownRepair(name));
      }
      const { spec, metadata } = stored.value;
      if (spec.cancelled === true) return this.#seen(name);
      const cancelled = {
        ...stored.value,
        metadata: { ...metadata, generation: (metadata.generation ?? 1) + 1 },
        spec: { ...spec, cancelled: true },
      };
      const audit = this.#audit("CancelRepair", `Node/${spec.nodeName}`, actor, `Repair ${name}`, "ok");
      if (await this.#commit([putJson(keys.object("Repair", name), cancelled, stored.revision), audit])) return this.#seen(name);
    }
    throw new Refused(refuse("Conflict", "the Repair keeps changing; try again"));
  }

  async *evidence(nodeId: string, evidence: string, actor: string, signal: AbortSignal): AsyncGenerator<Buffer, void> {
    const { catalog, random, requests } = this.#parts;
    const nodeName = catalog.nodeRecords.get(nodeId)?.value.name;
    if (nodeName === undefined) throw new Refused(refuse("NotFound", `there is no Node ${JSON.stringify(nodeId)}; see: drover get nodes`));
    const target = `Node/${nodeName}`;
    if (evidence !== "") {
      const bundle = await this.#stored(nodeId, evidence);
      if (bundle === undefined) {
        const refusal = refuse(
          "NotFound",
          `there is no evidence ${evidence} of node ${nodeName}, or it was too old to be kept; see: drover get repairs`,
        );
        await this.#refused("FetchEvidence", target, actor, refusal);
        throw new Refused(refusal);
      }
      await this.#commit([this.#audit("FetchEvidence", target, actor, evidence, "ok")]);
      for (let start = 0; start < bundle.length; start += CHUNK_BYTES) yield bundle.subarray(start, start + CHUNK_BYTES);
      return;
    }
    await this.#commit([this.#audit("CollectEvidence", target, actor, "gathered now", "ok")]);
    const requestId = random.bytes(8).toString("hex");
    yield* requests.collectEvidence(nodeId, { requestId, maxBytes: MAX_BUNDLE_BYTES }, signal);
  }

  /** Only what a Repair of this very node names: an id is never a path. */
  async #stored(nodeId: string, id: string): Promise<Buffer | undefined> {
    const { catalog, evidence } = this.#parts;
    const isOfNode = [...catalog.objects("Repair").values()].some(
      ({ value }) => value.spec.node === nodeId && value.status?.attempts.some((attempt) => attempt.evidence === id) === true,
    );
    return isOfNode ? evidence.get(id) : undefined;
  }

  async #store(repairs: readonly Repair[], written: number, actor: string): Promise<void> {
    const operations = repairs.flatMap((repair) => {
      const { metadata, spec } = repair;
      const message = `Repair ${metadata.name}: ${spec.rungs.join(", ")}${spec.reason === "" ? "" : ` (${spec.reason})`}`;
      return [
        putJson(keys.object("Repair", metadata.name), repair, 0),
        this.#audit("CreateRepair", `Node/${spec.nodeName}`, actor, message, "ok"),
      ];
    });
    if (await this.#commit(operations)) return;
    const begun = written === 0 ? "" : `; the first ${written} are there: drover get repairs`;
    throw new Refused(refuse("Conflict", `somebody else asked for repairs of these nodes at the same moment${begun}; try again`));
  }

  #seen(name: string): Seen {
    const seen = this.#parts.view.see("Repair", name);
    if (seen === undefined) throw new Refused(unknownRepair(name));
    return seen;
  }

  async #refused(action: string, target: string, actor: string, { reason, message }: Refusal): Promise<void> {
    await this.#parts.store.commit([this.#audit(action, target, actor, `${reason}: ${message}`, "refused")]);
  }

  #audit(action: string, target: string, actor: string, message: string, outcome: AuditEntry["outcome"]): StoreOperation {
    const { clock, random } = this.#parts;
    return auditOperation({ atMs: clock.now(), actor, action, target, outcome, message }, random);
  }

  /** @returns false when somebody else wrote first; the catalog has caught up either way */
  async #commit(operations: readonly StoreOperation[]): Promise<boolean> {
    const { store, catalog, clock } = this.#parts;
    const committed = await store.commit(operations);
    const revision = committed.ok ? committed.revision : (await store.list("objects/-")).revision;
    await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, undefined, () => catalog.reached(revision));
    return committed.ok;
  }
}

function unknownRepair(name: string): Refusal {
  return refuse("NotFound", `there is no Repair ${JSON.stringify(name.slice(0, 80))}; see: drover get repairs`);
}

function over({ metadata, status }: Repair): Refusal {
  return {
    ok: false,
    status: "FAILED_PRECONDITION",
    reason: "RepairEnded",
    message: `Repair ${metadata.name} has ended: ${status?.phase}`,
  };
}
