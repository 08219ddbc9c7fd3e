/** Takes what looks like a secret out of text that programs print. */

const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, "[redacted private key]"],
  // The same in base64, as kubeconfigs have it.
  [/\bLS0tLS1CRUdJTi[A-Za-z0-9+/]{16,}={0,2}/g, "[redacted pem]"],
  [/\b((?:client-)?key-data["']?\s*[:=]\s*["']?)[A-Za-z0-9+/]+={0,2}/gi, "$1[redacted]"],
  [/\b[a-z0-9]{6}\.[a-z0-9]{16}\b/g, "[redacted token]"],
  // A join token.
  [/\b[a-z2-7]{10}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/g, "[redacted token]"],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*/g, "[redacted jwt]"],
  [/\bS[UAONX][A-Z2-7]{56}\b/g, "[redacted seed]"],
  [/\b((?:proxy-)?authorization\s*[:=]\s*)(?:(?:bearer|basic)\s+)?\S+/gi, "$1[redacted]"],
  [/\b(bearer\s+)[A-Za-z0-9._~+/=-]{16,}/gi, "$1[redacted]"],
  [/\b([\w-]*(?:password|passwd|secret|token|api[_-]?key)["']?\s*[:=]\s*["']?)[^\s"',;]+/gi, "$1[redacted]"],
  [/(\/\/[^\s/:@]+:)[^\s/@]+@/g, "$1[redacted]@"],
];

/** Of a key whose beginning was cut off with the lines before it. */
const END_OF_KEY = /-----END [A-Z ]*PRIVATE KEY-----/;
const LONGEST_KEY = 8_192;

export function redact(text: string): string {
  return withoutCutKey(SECRETS.reduce((clean, [pattern, replacement]) => clean.replace(pattern, replacement), text));
}

function withoutCutKey(text: string): string {
  const end = END_OF_KEY.exec(text);
  if (end === null) return text;
  const rest = withoutCutKey(text.slice(end.index + end[0].length));
  return `${text.slice(0, Math.max(0, end.index - LONGEST_KEY))}[redacted private key]${rest}`;
}
