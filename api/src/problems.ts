/** What is wrong with something a person wrote, and where. Findings know paths; problems also know lines. */

/** Keys and indexes from the root of an object. */
export type Path = readonly (string | number)[];

/** Something wrong at a path of an object, before it is known from which file the object came. */
export interface Finding {
  readonly path: Path;
  /** Whether the key itself is wrong, or the value under it. */
  readonly at: "key" | "value";
  /** Continues the sentence that the path begins: "must be ...", "is required". */
  readonly message: string;
  /** What to do; may be empty. */
  readonly hint: string;
}

export interface Problem {
  /** As the person named it; empty: it came from no file. */
  readonly file: string;
  /** From 1; 0: not known. */
  readonly line: number;
  /** From 1; 0: not known. */
  readonly column: number;
  /** As formatPath writes it; empty: the whole document. */
  readonly path: string;
  readonly message: string;
  /** What to do; may be empty. */
  readonly hint: string;
}

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/** spec.images[0].name; keys with other characters as ["net.core.somaxconn"]. */
export function formatPath(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (PLAIN_KEY.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

/** The inverse of formatPath; undefined when the text is no path. */
export function parsePath(text: string): Path | undefined {
  const parts: (string | number)[] = [];
  const part = /(?:^|\.)([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/y;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) return undefined;
    if (match[1] !== undefined) parts.push(match[1]);
    else if (match[2] !== undefined) parts.push(Number(match[2]));
    else {
      const key = parseString(match[3]!);
      if (key === undefined) return undefined;
      parts.push(key);
    }
  }
  return parts;
}

function parseString(json: string): string | undefined {
  try {
    return String(JSON.parse(json));
  } catch {
    return undefined;
  }
}

/** `file:line:column: path: what is wrong; hint`, leaving out what is not known. */
export function formatProblem(problem: Problem): string {
  const place = problem.line > 0 ? `${problem.file}:${problem.line}:${problem.column}` : problem.file;
  const message = problem.hint === "" ? problem.message : `${problem.message}; ${problem.hint}`;
  return [place, problem.path, message].filter((part) => part !== "").join(": ");
}
