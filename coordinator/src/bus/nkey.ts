/**
 * NATS keys (nkeys): Ed25519 by node:crypto, spelled in base32 with a prefix for the role and a CRC-16.
 * Own code because the library signs in JavaScript, six hundred times slower, and hides its codec.
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";
import { base32, fromBase32 } from "../packed/base32.ts";

export type NkeyRole = "operator" | "account" | "user";

/** Role bytes as in github.com/nats-io/nkeys. */
const ROLE_BYTES: Readonly<Record<NkeyRole, number>> = { operator: 14 << 3, account: 0, user: 20 << 3 };
const SEED_BYTE = 18 << 3;
/** PKCS #8 around a raw 32-byte Ed25519 seed (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

export class Nkey {
  readonly role: NkeyRole;
  /** "O...", "A..." or "U...". */
  readonly publicKey: string;
  readonly #rawSeed: Buffer;
  readonly #privateKey: KeyObject;

  constructor(role: NkeyRole, rawSeed: Uint8Array) {
    this.role = role;
    this.#rawSeed = Buffer.from(rawSeed);
    this.#privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, rawSeed]), format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#privateKey).export({ format: "der", type: "spki" });
    this.publicKey = publicNkey(role, spki.subarray(-32));
  }

  static create(role: NkeyRole): Nkey {
    return new Nkey(role, randomBytes(32));
  }

  /** @throws when the text is no seed of that role */
  static fromSeed(role: NkeyRole, seed: string): Nkey {
    const raw = checked(seed);
    const roleByte = raw === undefined || raw.length !== 34 ? undefined : ((raw[0]! & 7) << 5) | ((raw[1]! & 0xf8) >> 3);
    if (raw === undefined || (raw[0]! & 0xf8) !== SEED_BYTE || roleByte !== ROLE_BYTES[role]) {
      throw new Error(`not the seed of a NATS ${role} key`);
    }
    return new Nkey(role, raw.subarray(2));
  }

  /** The secret itself, "S...". */
  seed(): string {
    const role = ROLE_BYTES[this.role];
    return withChecksum(Buffer.concat([Buffer.from([SEED_BYTE | (role >> 5), (role & 31) << 3]), this.#rawSeed]));
  }

  sign(bytes: Uint8Array): Buffer {
    return sign(null, bytes, this.#privateKey);
  }
}

/** The public half as text. @param raw 32 bytes */
export function publicNkey(role: NkeyRole, raw: Uint8Array): string {
  return withChecksum(Buffer.concat([Buffer.from([ROLE_BYTES[role]]), raw]));
}

/** Whether text is the public half of a key of that role. */
export function isPublicNkey(role: NkeyRole, text: string): boolean {
  const raw = checked(text);
  return raw !== undefined && raw.length === 33 && raw[0] === ROLE_BYTES[role];
}

function withChecksum(bytes: Buffer): string {
  const sum = Buffer.alloc(2);
  sum.writeUInt16LE(crc16(bytes));
  return base32(Buffer.concat([bytes, sum]));
}

function checked(text: string): Buffer | undefined {
  if (text.length > 128 || !/^[A-Z2-7]+$/.test(text)) return undefined;
  const bytes = fromBase32(text);
  if (bytes.length < 3 || base32(bytes) !== text) return undefined;
  const body = bytes.subarray(0, -2);
  return crc16(body) === bytes.readUInt16LE(bytes.length - 2) ? body : undefined;
}

/** CRC-16/XMODEM. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}
