/** An unexpected error on a secret's way, for the log: what kind and where, without its words, which may quote the secret. */

export function wordless(error: unknown, doing: string): Error {
  const kind = error instanceof Error ? error.constructor.name : typeof error;
  const bare = new Error(`${kind} while ${doing}; its text is left out, as it may quote a secret`);
  const frames = error instanceof Error ? (error.stack ?? "").split("\n").filter((line) => /^ {4}at [^\s]/.test(line)) : [];
  bare.stack = [`Error: ${bare.message}`, ...frames].join("\n");
  return bare;
}
