/**
 * What a failure looks like without what differs from node to node: two nodes with one fingerprint failed for one cause. Pure.
 * A fingerprint reads "step: Reason: words".
 */

const MAX_LENGTH = 300;
/** Stands for what was taken out. */
const ANY = "*";

/** In this order: what is taken out first is no longer there for what comes after. */
const VARIABLE: readonly (readonly [RegExp, string])[] = [
  [/\bsha(?:256|512):[0-9a-f]+/gi, ANY],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, ANY],
  [/\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?/g, ANY],
  // MAC addresses, then IPv6 with or without a port, then IPv4.
  [/\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b/gi, ANY],
  [/\[[0-9a-f:.]*:[0-9a-f:.%\w]*\](?::\d+)?/gi, ANY],
  [/(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?![\w:])/gi, ANY],
  [/(?<![\w:])(?:[0-9a-f]{1,4}:)*(?:[0-9a-f]{1,4})?::(?:[0-9a-f]{1,4}:)*(?:[0-9a-f]{1,4})?(?![\w:])/gi, ANY],
  [/\b\d{1,3}(?:\.\d{1,3}){3}(?:\/\d{1,2})?(?::\d+)?\b/g, ANY],
];
const PATH = /(?<![\w/])\/(?:[^\s"'`,;:()<>[\]{}=|/]+\/?)+/g;
/** With a digit in it, or nothing but hexadecimal digits of some length. */
const NUMBERED = /(?<!\w)[A-Za-z_]*\d[\w.+-]*|\b[0-9a-f]{8,}\b/gi;

/**
 * @param step that failed; empty: none did, the plan itself was refused
 * @param reason CamelCase
 * @param names of the node and its machine, as they may stand in the message
 */
export function fingerprintOf(step: string, reason: string, message: string, names: readonly string[] = []): string {
  let words = message;
  for (const name of names) if (name.length > 1) words = words.replaceAll(wholeWord(name), ANY);
  for (const [pattern, instead] of VARIABLE) words = words.replaceAll(pattern, instead);
  words = words.replaceAll(PATH, stablePath);
  words = words.replaceAll(NUMBERED, ANY);
  words = words
    .replaceAll(/\*(?:[.:_-]?\*)+/g, ANY)
    .replaceAll(/\s+/g, " ")
    .trim();
  return `${step === "" ? "plan" : step}: ${reason}: ${words}`.slice(0, MAX_LENGTH);
}

/** As status.fingerprints shows them. */
export function fingerprintParts(fingerprint: string): { readonly step: string; readonly error: string } {
  const end = fingerprint.indexOf(": ");
  return end < 0 ? { step: "", error: fingerprint } : { step: fingerprint.slice(0, end), error: fingerprint.slice(end + 2) };
}

/** Names of directories stay, what carries a number or is long and random goes; the last part stays only when it is a plain word. */
function stablePath(path: string): string {
  return path
    .split("/")
    .map((part) => (/\d|\*/.test(part) || part.length > 32 ? ANY : part))
    .join("/");
}

function wholeWord(name: string): RegExp {
  return new RegExp(`(?<![\\w-])${name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?![\\w-])`, "gi");
}
