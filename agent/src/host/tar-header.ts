/** The 512 bytes before each entry of a tar (ustar, GNU, pax), and what extends them. Pure. */

export const TAR_BLOCK_BYTES = 512;
/** Of a long name or a pax header. */
export const MAX_EXTENSION_BYTES = 64 * 1024;
export const REGULAR_FILES: ReadonlySet<string> = new Set(["0", "\0", "7"]);

export function hasValidChecksum(header: Buffer): boolean {
  let sum = 0;
  for (const [index, byte] of header.entries()) sum += index >= 148 && index < 156 ? 0x20 : byte;
  return sum === Number.parseInt(text(header.subarray(148, 156)).trim(), 8);
}

export function sizeOf(header: Buffer): number {
  // GNU writes sizes from 8 GiB on as binary, marked by the highest bit.
  if ((header[124]! & 0x80) !== 0) return Number(header.readBigUInt64BE(128));
  return Number.parseInt(text(header.subarray(124, 136)).trim() || "0", 8);
}

/** Without what a pax or GNU header before it says. */
export function nameOf(header: Buffer): string {
  const name = text(header.subarray(0, 100));
  const prefix = header.subarray(257, 262).toString() === "ustar" && header[263] === 0x30 ? text(header.subarray(345, 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

export function paxRecords(content: Buffer): { name?: string; sizeBytes?: number; link?: string } {
  const records: { name?: string; sizeBytes?: number; link?: string } = {};
  for (let at = 0; at < content.length; ) {
    const blank = content.indexOf(0x20, at);
    const length = Number.parseInt(content.subarray(at, blank).toString(), 10);
    if (blank < 0 || !(length > 0)) break;
    const record = content.subarray(blank + 1, at + length - 1).toString();
    const equals = record.indexOf("=");
    const value = record.slice(equals + 1);
    if (record.startsWith("path=")) records.name = value;
    if (record.startsWith("linkpath=")) records.link = value;
    if (record.startsWith("size=")) records.sizeBytes = Number(value);
    at += length;
  }
  return records;
}

export function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? field.length : end).toString();
}
