/** The fleet's snapshot as bytes: a header, a digest over the rest, and the packed columns as they lie in memory. Damaged or foreign bytes read as none. */
import { createHash } from "node:crypto";
import { deserialize, serialize } from "node:v8";
import type { PackedColumns } from "../packed/packed-values.ts";
import type { OutboxCursors, ReportedNode } from "./fold.ts";
import type { Head } from "./told-values.ts";

/** Raised whenever the shape changes. */
const MAGIC = Buffer.from("drover-fleet-3\n");
/** One block per node, each a SnapshotNode. */
const OLDER_MAGIC = Buffer.from("drover-fleet-2\n");
const DIGEST_BYTES = 32;

export interface SnapshotNode {
  readonly nodeId: string;
  readonly reported: ReportedNode;
  readonly cursors: OutboxCursors;
  readonly lastReportUnixMs: number;
}

/** One place per node in the arrays, in the same order. */
export interface PackedFleet {
  /** Of the report log: the last one that is in it. */
  readonly row: number;
  readonly nodeIds: readonly string[];
  readonly indexes: Uint32Array;
  readonly lastReports: Float64Array;
  /** Places in heads. */
  readonly headOf: Uint32Array;
  readonly heads: readonly Head[];
  readonly columns: readonly PackedColumns[];
}

export type Snapshot =
  | { readonly kind: "packed"; readonly fleet: PackedFleet }
  | { readonly kind: "blocks"; readonly row: number; readonly nodes: Iterable<SnapshotNode> };

interface Contents extends Omit<PackedFleet, "nodeIds" | "columns"> {
  readonly nodeIds: string;
  readonly columns: readonly (Omit<PackedColumns, "chunks"> & { readonly chunkLengths: readonly number[] })[];
}

/** In pieces, to be written one after the other: together they are as large as the fleet. */
export function encodeSnapshot({ nodeIds, columns, ...rest }: PackedFleet): readonly Uint8Array[] {
  const contents: Contents = {
    ...rest,
    nodeIds: nodeIds.join("\n"),
    columns: columns.map(({ chunks, ...own }) => ({ ...own, chunkLengths: chunks.map(({ length }) => length) })),
  };
  const head = serialize(contents);
  const parts = [numberBytes(head.length), head, ...columns.flatMap(({ chunks }) => chunks)];
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return [MAGIC, digest.digest(), ...parts];
}

/** undefined: not a snapshot that we know, or damaged. @param bytes kept: what is packed stays in them */
export function decodeSnapshot(bytes: Uint8Array): Snapshot | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bodyStart = MAGIC.length + DIGEST_BYTES;
  if (buffer.length < bodyStart + 6) return undefined;
  const magic = buffer.subarray(0, MAGIC.length);
  const isOlder = magic.equals(OLDER_MAGIC);
  if (!isOlder && !magic.equals(MAGIC)) return undefined;
  const body = buffer.subarray(bodyStart);
  if (!createHash("sha256").update(body).digest().equals(buffer.subarray(MAGIC.length, bodyStart))) return undefined;
  return isOlder ? { kind: "blocks", row: body.readUIntBE(0, 6), nodes: blocksIn(body) } : { kind: "packed", fleet: packedIn(body) };
}

function* blocksIn(body: Buffer): Iterable<SnapshotNode> {
  for (let offset = 6; offset < body.length; ) {
    const end = offset + 6 + body.readUIntBE(offset, 6);
    yield deserialize(body.subarray(offset + 6, end)) as SnapshotNode;
    offset = end;
  }
}

function packedIn(body: Buffer): PackedFleet {
  let offset = 6 + body.readUIntBE(0, 6);
  const { nodeIds, columns, ...rest } = deserialize(body.subarray(6, offset)) as Contents;
  return {
    ...rest,
    nodeIds: nodeIds === "" ? [] : nodeIds.split("\n"),
    columns: columns.map(({ chunkLengths, ...own }) => ({
      ...own,
      chunks: chunkLengths.map((length) => body.subarray(offset, (offset += length))),
    })),
  };
}

function numberBytes(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}
