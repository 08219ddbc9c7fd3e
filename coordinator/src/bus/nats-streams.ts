/** The two streams, exactly as the protocol has them: created, or brought back to it. */
import { streams, subjects } from "@drover/proto";
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from "@nats-io/jetstream";

const NANOS_PER_MS = 1_000_000;
const STREAM_NOT_FOUND = 10059;

type Wanted = Pick<
  StreamConfig,
  | "name"
  | "subjects"
  | "storage"
  | "retention"
  | "discard"
  | "max_age"
  | "max_bytes"
  | "max_msgs_per_subject"
  | "num_replicas"
  | "no_ack"
  | "deny_delete"
  | "deny_purge"
>;

/** One message per node; forgotten with the broker. */
export const heartbeatsStream: Wanted = {
  name: streams.heartbeats,
  subjects: [subjects.allHeartbeats],
  storage: StorageType.Memory,
  retention: RetentionPolicy.Limits,
  discard: DiscardPolicy.Old,
  max_age: 10 * 60_000 * NANOS_PER_MS,
  max_bytes: -1,
  max_msgs_per_subject: 1,
  num_replicas: 1,
  no_ack: true,
  deny_delete: false,
  deny_purge: false,
};

/** A transit buffer: what it drops is sent again from an outbox. */
export function reportsStream(maxBytes: number): Wanted {
  return {
    name: streams.reports,
    subjects: [subjects.allReports],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    max_age: 24 * 3_600_000 * NANOS_PER_MS,
    max_bytes: maxBytes,
    max_msgs_per_subject: 1_000,
    num_replicas: 1,
    no_ack: true,
    deny_delete: false,
    deny_purge: false,
  };
}

/** What a server will not change on a living stream. */
const FIXED: ReadonlySet<keyof Wanted> = new Set(["storage", "retention", "deny_delete", "deny_purge"]);

/** Makes or mends the stream. One whose fixed settings differ is made anew: both streams can be lost without loss. */
export async function ensureStream(manager: JetStreamManager, wanted: Wanted): Promise<StreamInfo> {
  const existing = await findStream(manager, wanted.name);
  // Copies are handed on: the library writes into what it is given.
  if (existing === undefined) return manager.streams.add({ ...wanted });
  const differing = (Object.keys(wanted) as (keyof Wanted)[]).filter(
    (field) => JSON.stringify(existing.config[field] ?? false) !== JSON.stringify(wanted[field]),
  );
  if (differing.length === 0) return existing;
  if (!differing.some((field) => FIXED.has(field))) return manager.streams.update(wanted.name, { ...wanted });
  await manager.streams.delete(wanted.name);
  return manager.streams.add({ ...wanted });
}

async function findStream(manager: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await manager.streams.info(name);
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return undefined;
    throw error;
  }
}
