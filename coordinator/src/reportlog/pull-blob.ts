/** One pull's messages as one blob: version byte, then per message its stream sequence, node id and payload, each length-prefixed. */
import type { ReportMessage } from "../bus/bus.ts";

const VERSION = 1;
/** uint48 sequence, uint8 node id length, uint32 payload length. */
const HEADER_BYTES = 11;

export function encodePull(messages: readonly ReportMessage[]): Buffer {
  const size = messages.reduce((sum, message) => sum + HEADER_BYTES + message.nodeId.length + message.payload.length, 1);
  const blob = Buffer.allocUnsafe(size);
  let offset = blob.writeUInt8(VERSION, 0);
  for (const { sequence, nodeId, payload } of messages) {
    offset = blob.writeUIntBE(sequence, offset, 6);
    offset = blob.writeUInt8(nodeId.length, offset);
    offset = blob.writeUInt32BE(payload.length, offset);
    offset += blob.write(nodeId, offset, "latin1");
    blob.set(payload, offset);
    offset += payload.length;
  }
  return blob;
}

/** @throws when the bytes are not what encodePull made */
export function decodePull(bytes: Uint8Array): ReportMessage[] {
  const blob = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (blob[0] !== VERSION) throw new Error(`a report log row of unknown version ${blob[0]}`);
  const messages: ReportMessage[] = [];
  let offset = 1;
  while (offset < blob.length) {
    const sequence = blob.readUIntBE(offset, 6);
    const idEnd = offset + HEADER_BYTES + blob.readUInt8(offset + 6);
    const end = idEnd + blob.readUInt32BE(offset + 7);
    if (end > blob.length) throw new Error("a report log row that ends in the middle of a message");
    messages.push({ sequence, nodeId: blob.toString("latin1", offset + HEADER_BYTES, idEnd), payload: blob.subarray(idEnd, end) });
    offset = end;
  }
  return messages;
}

/** The pull's part that is not logged yet; empty when all of it is. */
export function notYetLogged(
  pull: { readonly incarnation: string; readonly messages: readonly ReportMessage[] },
  position: { readonly incarnation: string; readonly sequence: number } | undefined,
): readonly ReportMessage[] {
  if (position === undefined || position.incarnation !== pull.incarnation) return pull.messages;
  return pull.messages.filter((message) => message.sequence > position.sequence);
}
