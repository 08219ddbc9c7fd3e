/**
 * Reads YAML text into plain values, with limits, and knows where each value stood.
 * What the values mean is manifest.ts's to say.
 */
import {
  Composer,
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  type YAMLMap,
} from "yaml";
import type { Path } from "./problems.ts";

export const MAX_TEXT_BYTES = 1024 * 1024;
export const MAX_DEPTH = 64;
/** Values in one document once its aliases are followed. */
export const MAX_VALUES = 100_000;
const MAX_ERRORS = 20;

export interface Position {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

export interface SourceError extends Position {
  readonly message: string;
  readonly hint: string;
}

export interface SourceDocument {
  readonly value: unknown;
  readonly start: Position;
  /** Where the value at path stands, its key if "key" is asked for; where there is none, the nearest that holds it. */
  position(path: Path, at?: "key" | "value"): Position;
}

export type SourceReading =
  | { readonly ok: true; readonly documents: readonly SourceDocument[] }
  | { readonly ok: false; readonly errors: readonly SourceError[] };

export function readYaml(text: string): SourceReading {
  const size = Buffer.byteLength(text);
  if (size > MAX_TEXT_BYTES) {
    return refuse({ line: 1, column: 1 }, `is ${size} bytes long, more than the ${MAX_TEXT_BYTES} allowed`, "split it into several files");
  }
  const lines = new LineCounter();
  const documents = compose(text, lines);
  if (!Array.isArray(documents)) return refuse(documents.at, `is nested deeper than ${MAX_DEPTH} levels`, "");
  const errors: SourceError[] = [];
  const read: SourceDocument[] = [];
  for (const document of documents) {
    const own = errorsOf(document, lines);
    errors.push(...own);
    if (own.length > 0 || document.contents === null || (isScalar(document.contents) && document.contents.value === null)) continue;
    read.push(sourceDocument(document, lines));
  }
  return errors.length > 0 ? { ok: false, errors: errors.slice(0, MAX_ERRORS) } : { ok: true, documents: read };
}

function refuse(at: Position, message: string, hint: string): SourceReading {
  return { ok: false, errors: [{ ...at, message, hint }] };
}

/** Lexemes that stand for no text: begin of document, end of flow, begin of scalar. */
const MARKS: ReadonlySet<string> = new Set(["\u0002", "\u0018", "\u001f"]);

/** The parser keeps open collections on a stack, the composer on ours: the depth is checked in between, while reading. */
function compose(text: string, lines: LineCounter): Document.Parsed[] | { readonly at: Position } {
  const parser = new Parser(lines.addNewLine);
  const tokens = [];
  lines.addNewLine(0);
  let offset = 0;
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) tokens.push(token);
    if (parser.stack.length > MAX_DEPTH + 2) return { at: positionAt(Math.min(offset, text.length), lines) };
    if (!MARKS.has(lexeme)) offset += lexeme.length;
  }
  tokens.push(...parser.end());
  const composer = new Composer({ lineCounter: lines, prettyErrors: false, uniqueKeys: false, strict: true });
  return [...composer.compose(tokens, true, text.length)] as Document.Parsed[];
}

function positionAt(offset: number, lines: LineCounter): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

function errorsOf(document: Document.Parsed, lines: LineCounter): SourceError[] {
  const errors = [...document.errors, ...document.warnings].map((error) => {
    const at = positionAt(error.pos[0], lines);
    return { ...at, message: `is no YAML that can be read: ${error.message}`, hint: "" };
  });
  if (errors.length > 0) return errors;
  return findFaults(document.contents, document).map(({ offset, message, hint }) => ({ ...positionAt(offset, lines), message, hint }));
}

interface Fault {
  readonly offset: number;
  readonly message: string;
  readonly hint: string;
}

/**
 * Repeated keys, and what the document would grow to, without growing it: each anchored node is measured once.
 * (The composer's own search for repeated keys takes time by the square of their number.)
 */
function findFaults(root: unknown, document: Document.Parsed): readonly Fault[] {
  const sizes = new Map<unknown, { readonly values: number; readonly depth: number }>();
  const open = new Set<unknown>();
  const repeated: Fault[] = [];
  let excess: Fault | undefined;
  const measure = (node: unknown): { readonly values: number; readonly depth: number } => {
    const known = sizes.get(node);
    if (known !== undefined) return known;
    const offset = (node as Node | null)?.range?.[0] ?? 0;
    if (open.has(node)) {
      excess ??= { offset, message: "holds itself through an alias", hint: "write it out" };
      return { values: 1, depth: 1 };
    }
    if (isMap(node)) repeated.push(...faultsOfKeys(node));
    open.add(node);
    let values = 1;
    let depth = 1;
    for (const child of childrenOf(node, document)) {
      if (child === undefined) excess ??= { offset, message: "is an alias of an anchor that is not there", hint: "" };
      const measured = measure(child);
      values += measured.values;
      depth = Math.max(depth, measured.depth + (isAlias(node) ? 0 : 1));
    }
    open.delete(node);
    const measured = { values, depth };
    sizes.set(node, measured);
    if (values > MAX_VALUES)
      excess ??= { offset, message: `grows to more than ${MAX_VALUES} values through its aliases`, hint: "write it out" };
    if (depth > MAX_DEPTH) excess ??= { offset, message: `is nested deeper than ${MAX_DEPTH} levels`, hint: "" };
    return measured;
  };
  measure(root);
  return excess === undefined ? repeated : [excess, ...repeated];
}

function faultsOfKeys(map: YAMLMap): Fault[] {
  const seen = new Set<string>();
  return map.items.flatMap(({ key }): Fault[] => {
    const offset = (key as Node | null)?.range?.[0] ?? map.range?.[0] ?? 0;
    if (!isScalar(key)) return [{ offset, message: "has a key that is no plain text", hint: "" }];
    const name = String(key.value);
    if (seen.has(name)) return [{ offset, message: `repeats the key ${JSON.stringify(name.slice(0, 80))}`, hint: "remove one of them" }];
    seen.add(name);
    return [];
  });
}

function childrenOf(node: unknown, document: Document.Parsed): readonly unknown[] {
  if (isAlias(node)) return [node.resolve(document)];
  if (isPair(node)) return [node.key, node.value];
  if (isMap(node) || isSeq(node)) return node.items;
  return [];
}

function sourceDocument(document: Document.Parsed, lines: LineCounter): SourceDocument {
  const pairs = new WeakMap<YAMLMap, ReadonlyMap<string, Pair>>();
  const pairOf: PairLookup = (map, key) => {
    const known = pairs.get(map) ?? new Map(map.items.map((pair) => [String(isScalar(pair.key) ? pair.key.value : pair.key), pair]));
    pairs.set(map, known);
    return known.get(key);
  };
  const start = positionAt((document.contents as Node).range?.[0] ?? 0, lines);
  return {
    value: document.toJS({ maxAliasCount: -1 }),
    start,
    position: (path, at = "value") => {
      const offset = offsetOf(document, path, at, pairOf);
      return offset === undefined ? start : positionAt(offset, lines);
    },
  };
}

type PairLookup = (map: YAMLMap, key: string) => Pair | undefined;

function offsetOf(document: Document.Parsed, path: Path, at: "key" | "value", pairOf: PairLookup): number | undefined {
  let node: unknown = document.contents;
  let keyOffset: number | undefined;
  let valueOffset = startOf(node);
  for (const part of path) {
    const holder = isAlias(node) ? node.resolve(document) : node;
    if (isSeq(holder)) {
      if (holder.items[Number(part)] === undefined) return keyOffset ?? valueOffset;
      node = holder.items[Number(part)];
      keyOffset = undefined;
    } else if (isMap(holder)) {
      const pair = pairOf(holder, String(part));
      if (pair === undefined) return keyOffset ?? valueOffset;
      keyOffset = startOf(pair.key);
      node = pair.value;
    } else return keyOffset ?? valueOffset;
    valueOffset = startOf(node);
  }
  return at === "key" ? (keyOffset ?? valueOffset) : (valueOffset ?? keyOffset);
}

/** undefined for a value that was left out, as in `spec:`. */
function startOf(node: unknown): number | undefined {
  const range = (node as Node | null | undefined)?.range;
  if (range === undefined || range === null) return undefined;
  return isScalar(node) && node.value === null && range[0] === range[1] ? undefined : range[0];
}
