/** Names and ids of nodes: ids are the coordinator's, names are for people. */
import type { Random } from "@drover/lifecycle";

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const MAX_NAME = 63;

/** Random text of lower-case base32. */
export function base32Text(random: Random, length: number): string {
  return Array.from(random.bytes(length), (byte) => BASE32[byte & 31]).join("");
}

/** 10 base32 characters, as `isNodeId` wants them. */
export function newNodeId(random: Random): string {
  return base32Text(random, 10);
}

/** Wanted text as an object name; empty when nothing of it can be kept. */
export function asObjectName(wanted: string): string {
  return wanted
    .slice(0, 1024)
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, MAX_NAME)
    .replace(/[^a-z0-9]+$/, "");
}

/** The n-th try for a name: web, web-2, web-3, ...; never longer than a name may be. */
export function nameCandidate(name: string, attempt: number): string {
  if (attempt === 1) return name;
  const suffix = `-${attempt}`;
  return name.slice(0, MAX_NAME - suffix.length).replace(/[^a-z0-9]+$/, "") + suffix;
}
