/** Which faults can be planted into a source file: one small change each, found on the syntax tree, as people make them. Pure. */
import { parseAst } from "vitest/node";

export interface Fault {
  /** What is done, for example "< becomes <=". */
  readonly name: string;
  /** Counted from 1. */
  readonly line: number;
  /** The line as it stands, trimmed: with the name it is known again when lines move. */
  readonly source: string;
  /** Offsets of what is replaced. */
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

const COMPARISONS: Readonly<Record<string, readonly string[]>> = {
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "===": ["!=="],
  "!==": ["==="],
};
const ARITHMETIC: Readonly<Record<string, string>> = { "+": "-", "-": "+", "*": "/", "/": "*" };
const SWAPPED_CALLS: Readonly<Record<string, string>> = { max: "min", min: "max", some: "every", every: "some" };
const UNTOUCHED = new Set([
  "ImportDeclaration",
  "TSTypeAliasDeclaration",
  "TSInterfaceDeclaration",
  "TSTypeAnnotation",
  "TSTypeParameterInstantiation",
]);

export function faultsIn(source: string): readonly Fault[] {
  const faults: Fault[] = [];
  const lines = source.split("\n");
  const starts = lines.map((_, index) => lines.slice(0, index).reduce((length, line) => length + line.length + 1, 0));
  const add = (name: string, from: number, to: number, text: string): void => {
    let line = starts.findLastIndex((start) => start <= from);
    if (line < 0) line = 0;
    faults.push({ name, line: line + 1, source: lines[line]!.trim(), from, to, text });
  };
  const text = (node: SyntaxNode): string => source.slice(node.start, node.end);
  visit(parseAst(source, { lang: "ts" }) as unknown as SyntaxNode, (node) => plant(node, text, add));
  return faults;
}

type Add = (name: string, from: number, to: number, text: string) => void;

function plant(node: SyntaxNode, text: (node: SyntaxNode) => string, add: Add): void {
  const child = (field: string): SyntaxNode => node[field] as SyntaxNode;
  const replaceOperator = (instead: string): void => {
    const [left, right, operator] = [child("left"), child("right"), String(node["operator"])];
    add(`${operator} becomes ${instead}`, node.start, node.end, `${text(left)} ${instead} ${text(right)}`);
  };
  switch (node.type) {
    case "BinaryExpression": {
      const operator = String(node["operator"]);
      for (const instead of COMPARISONS[operator] ?? []) replaceOperator(instead);
      const isText = [child("left"), child("right")].some(({ type }) => type === "TemplateLiteral" || type === "Literal");
      const instead = ARITHMETIC[operator];
      if (instead !== undefined && (operator !== "+" || !isText || typeof child("right")["value"] === "number")) replaceOperator(instead);
      return;
    }
    case "LogicalExpression": {
      const operator = String(node["operator"]);
      if (operator === "??") {
        add("what stands in is dropped", node.start, node.end, text(child("left")));
        return;
      }
      replaceOperator(operator === "&&" ? "||" : "&&");
      add(`the right of ${operator} is dropped`, node.start, node.end, `(${text(child("left"))})`);
      add(`the left of ${operator} is dropped`, node.start, node.end, `(${text(child("right"))})`);
      return;
    }
    case "IfStatement":
      for (const instead of ["true", "false"]) add(`the condition is ${instead}`, child("test").start, child("test").end, instead);
      return;
    case "ConditionalExpression":
      add("always the first", node.start, node.end, `(${text(child("consequent"))})`);
      add("always the second", node.start, node.end, `(${text(child("alternate"))})`);
      return;
    case "UnaryExpression":
      if (node["operator"] === "!") add("the negation is dropped", node.start, node.end, `(${text(child("argument"))})`);
      return;
    case "Literal":
      if (typeof node["value"] === "number") add("one more", node.start, node.end, String(node["value"] + 1));
      if (typeof node["value"] === "boolean")
        add(`${node["value"]} becomes ${!node["value"]}`, node.start, node.end, String(!node["value"]));
      return;
    case "ExpressionStatement":
      add("the statement is removed", node.start, node.end, ";");
      return;
    case "ContinueStatement":
      add("continue is removed", node.start, node.end, ";");
      return;
    case "ReturnStatement": {
      // Of a value that has a place to fall through to, or none at all.
      if (node["argument"] === null) add("return is removed", node.start, node.end, ";");
      return;
    }
    case "CallExpression": {
      const callee = child("callee");
      const property = callee["property"] as SyntaxNode | undefined;
      const called = property === undefined ? undefined : String(property["name"]);
      const instead = called === undefined ? undefined : SWAPPED_CALLS[called];
      if (instead !== undefined && property !== undefined) add(`${called} becomes ${instead}`, property.start, property.end, instead);
      if (called === "filter") add("the filter is dropped", node.start, node.end, text(callee["object"] as SyntaxNode));
      return;
    }
    default:
  }
}

function visit(node: SyntaxNode, meet: (node: SyntaxNode) => void): void {
  if (UNTOUCHED.has(node.type)) return;
  meet(node);
  for (const value of Object.values(node)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (isSyntaxNode(each)) visit(each, meet);
    }
  }
}

function isSyntaxNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

export function planted(source: string, { from, to, text }: Fault): string {
  return source.slice(0, from) + text + source.slice(to);
}
