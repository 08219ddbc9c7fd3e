/** Takes what looks like a secret out of text that programs print. */

const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, "[redacted private key]"],
  [/\b[a-z0-9]{6}\.[a-z0-9]{16}\b/g, "[redacted token]"],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*/g, "[redacted jwt]"],
  [/\bS[UAONX][A-Z2-7]{56}\b/g, "[redacted seed]"],
  [/\b((?:proxy-)?authorization\s*[:=]\s*)(?:(?:bearer|basic)\s+)?\S+/gi, "$1[redacted]"],
  [/\b([\w-]*(?:password|passwd|secret|token|api[_-]?key)["']?\s*[:=]\s*["']?)[^\s"',;]+/gi, "$1[redacted]"],
  [/(\/\/[^\s/:@]+:)[^\s/@]+@/g, "$1[redacted]@"],
];

export function redact(text: string): string {
  return SECRETS.reduce((clean, [pattern, replacement]) => clean.replace(pattern, replacement), text);
}
