/** The fleet's snapshot as bytes: a header, a digest over the rest, and one block per node. Damaged or foreign bytes read as none. */
import { createHash } from "node:crypto";
import { deserialize, serialize } from "node:v8";
import type { OutboxCursors, ReportedNode } from "./fold.ts";

/** Raised whenever the shape of a block changes: an older snapshot is then passed over, and the log replayed. */
const MAGIC = Buffer.from("drover-fleet-2\n");
const DIGEST_BYTES = 32;

export interface SnapshotNode {
  readonly nodeId: string;
  readonly reported: ReportedNode;
  readonly cursors: OutboxCursors;
  readonly lastReportUnixMs: number;
}

export function encodeNode(node: SnapshotNode): Buffer {
  return serialize(node);
}

/** @param row the last report log row that is in it; @param nodes from encodeNode */
export function encodeSnapshot(row: number, nodes: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = [numberBytes(row)];
  for (const node of nodes) parts.push(numberBytes(node.length), node);
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return Buffer.concat([MAGIC, digest.digest(), ...parts]);
}

/** undefined: not a snapshot of this version, or damaged. */
export function decodeSnapshot(bytes: Uint8Array): { readonly row: number; readonly nodes: readonly SnapshotNode[] } | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bodyStart = MAGIC.length + DIGEST_BYTES;
  if (buffer.length < bodyStart + 6 || !buffer.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const body = buffer.subarray(bodyStart);
  if (!createHash("sha256").update(body).digest().equals(buffer.subarray(MAGIC.length, bodyStart))) return undefined;
  const nodes: SnapshotNode[] = [];
  for (let offset = 6; offset < body.length; ) {
    const end = offset + 6 + body.readUIntBE(offset, 6);
    nodes.push(deserialize(body.subarray(offset + 6, end)) as SnapshotNode);
    offset = end;
  }
  return { row: body.readUIntBE(0, 6), nodes };
}

function numberBytes(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}
