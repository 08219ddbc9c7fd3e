/** The coordinator's durable parts with a disk's latency, as one life of it sees them; commits and log rows are observed when durable. */
import type { DesiredNode, ReportLog, SnapshotStore, Store } from "@drover/coordinator";
import type { Repair, Rollout } from "@drover/api";
import { readBatch } from "../../coordinator/src/reportlog/report-count.ts";
import type { StoreOperation, WatchBatch } from "../../coordinator/src/store/store.ts";
import type { Disk } from "./disk.ts";
import type { Life } from "./life.ts";
import type { Observe } from "./observations.ts";

/** Whoever commits, it is seen. */
export function observedStore(store: Store, observe: Observe): Store {
  return {
    ...store,
    async commit(operations) {
      const result = await store.commit(operations);
      if (result.ok) for (const operation of operations) observeCommit(operation, observe);
      return result;
    },
  };
}

export function slowStore(store: Store, disk: Disk, life: Life): Store {
  return {
    get: (key) => life.awaits(store.get(key)),
    list: (prefix) => life.awaits(store.list(prefix)),
    commit: (operations) => life.awaits(disk.write(() => store.commit(operations))),
    watch: (prefix, fromRevision, signal) => watched(store, prefix, fromRevision, signal, life),
    close: () => life.awaits(store.close()),
  };
}

async function* watched(
  store: Store,
  prefix: string,
  fromRevision: number,
  signal: AbortSignal,
  life: Life,
): AsyncGenerator<WatchBatch, void> {
  const batches = store.watch(prefix, fromRevision, AbortSignal.any([signal, life.ended]))[Symbol.asyncIterator]();
  for (;;) {
    const next = await life.awaits(batches.next());
    if (next.done === true) return;
    yield next.value;
  }
}

function observeCommit(operation: StoreOperation, observe: Observe): void {
  if (operation.type !== "put") return;
  const { key, value } = operation;
  if (key.startsWith("desired/")) {
    const { nodeId, planEpoch, generation, revision, rollout } = JSON.parse(Buffer.from(value).toString()) as DesiredNode;
    observe({ type: "decided", node: nodeId, planEpoch, generation, revision, rollout });
  } else if (key.startsWith("objects/Rollout/")) {
    const { metadata, status } = JSON.parse(Buffer.from(value).toString()) as Rollout;
    observe({ type: "rollout", name: metadata.name, phase: status?.phase ?? "", reason: status?.reason ?? "" });
  } else if (key.startsWith("objects/Repair/")) {
    const repair = JSON.parse(Buffer.from(value).toString()) as Repair;
    observe({ type: "repair", name: repair.metadata.name, node: repair.spec.node, repair });
  }
}

export function slowReportLog(log: ReportLog, disk: Disk, life: Life, observe: Observe): ReportLog {
  return {
    append: (pull, atMs) =>
      life.awaits(
        disk.write(async () => {
          const row = await log.append(pull, atMs);
          for (const message of pull.messages) {
            const reading = readBatch(message);
            if (!reading.ok) continue;
            const { nodeId, outboxEpoch, seq } = reading.batch;
            observe({ type: "logged", node: nodeId, epoch: outboxEpoch.toString("hex"), seq, digest: reading.digest });
          }
          return row;
        }),
      ),
    position: () => life.awaits(log.position()),
    read: (afterRow) => log.read(afterRow),
    prune: (options) => life.awaits(log.prune(options)),
    close: () => life.awaits(log.close()),
  };
}

export function slowSnapshotStore(snapshots: SnapshotStore, disk: Disk, life: Life): SnapshotStore {
  return {
    read: () => life.awaits(snapshots.read()),
    write: (snapshot) => life.awaits(disk.write(() => snapshots.write(snapshot))),
  };
}
