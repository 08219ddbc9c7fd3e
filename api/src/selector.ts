/** Label selectors as Kubernetes knows them: kubectl's text, and matching. */
import type { Selector } from "./objects.ts";

export type SelectorParsing =
  | { readonly ok: true; readonly selector: Selector }
  /** column: from 1, in the text. */
  | { readonly ok: false; readonly column: number; readonly message: string };

export type Labels = Readonly<Record<string, string>>;
type Requirement = NonNullable<Selector["matchExpressions"]>[number];

const LABEL_KEY = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** Reads `a=b,c!=d,e in (x,y),f notin (z),g,!h`. An empty text is an error, not "all". */
export function parseSelector(text: string): SelectorParsing {
  const matchLabels: Record<string, string> = Object.create(null);
  const matchExpressions: Requirement[] = [];
  if (text.trim() === "") return { ok: false, column: 1, message: "the selector is empty: an empty selector is an error, not 'all'" };
  let column = 1;
  for (const term of splitTerms(text)) {
    const requirement = parseTerm(term);
    if (typeof requirement === "string")
      return { ok: false, column: column + (term.length - term.trimStart().length), message: requirement };
    const [value] = requirement.values ?? [];
    const isEqual = requirement.operator === "In" && requirement.values?.length === 1 && !/\s+in\s*\(/.test(term);
    if (isEqual && !(requirement.key in matchLabels)) matchLabels[requirement.key] = value!;
    else matchExpressions.push(requirement);
    column += term.length + 1;
  }
  return {
    ok: true,
    selector: {
      ...(Object.keys(matchLabels).length > 0 ? { matchLabels: { ...matchLabels } } : {}),
      ...(matchExpressions.length > 0 ? { matchExpressions } : {}),
    },
  };
}

/** At commas outside of parentheses. */
function splitTerms(text: string): string[] {
  const terms = [""];
  let isInside = false;
  for (const character of text) {
    if (character === "(") isInside = true;
    if (character === ")") isInside = false;
    if (character === "," && !isInside) terms.push("");
    else terms[terms.length - 1] += character;
  }
  return terms;
}

function parseTerm(term: string): Requirement | string {
  const text = term.trim();
  if (text === "") return "a requirement is missing beside a comma";
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text);
  if (set !== null) {
    const values = set[3]!.split(",").map((value) => value.trim());
    return fit({ key: set[1]!, operator: set[2] === "in" ? "In" : "NotIn", values: [...new Set(values)] });
  }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)$/.exec(text);
  if (equality !== null) return fit({ key: equality[1]!, operator: equality[2] === "!=" ? "NotIn" : "In", values: [equality[3]!] });
  const existence = /^(!?)\s*([^\s=!()]+)$/.exec(text);
  if (existence !== null) return fit({ key: existence[2]!, operator: existence[1] === "!" ? "DoesNotExist" : "Exists" });
  return `${JSON.stringify(text)} is no requirement: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key`;
}

function fit(requirement: Requirement): Requirement | string {
  if (!LABEL_KEY.test(requirement.key)) return `${JSON.stringify(requirement.key)} is no label key`;
  const bad = requirement.values?.find((value) => !LABEL_VALUE.test(value));
  return bad === undefined ? requirement : `${JSON.stringify(bad)} is no label value`;
}

/** The other way: text that parseSelector reads as a selector that matches the same. */
export function formatSelector(selector: Selector): string {
  const equalities = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (selector.matchExpressions ?? []).map(({ key, operator, values = [] }) => {
    switch (operator) {
      case "In":
        return `${key} in (${values.join(",")})`;
      case "NotIn":
        return `${key} notin (${values.join(",")})`;
      case "Exists":
        return key;
      case "DoesNotExist":
        return `!${key}`;
    }
  });
  return [...equalities, ...expressions].join(",");
}

/** As Kubernetes: NotIn also matches what has no such label. A selector without requirements matches nothing. */
export function matchesSelector(selector: Selector, labels: Labels): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  const expressions = selector.matchExpressions ?? [];
  if (wanted.length + expressions.length === 0) return false;
  return wanted.every(([key, value]) => valueOf(labels, key) === value) && expressions.every((requirement) => meets(requirement, labels));
}

function meets({ key, operator, values = [] }: Requirement, labels: Labels): boolean {
  const value = valueOf(labels, key);
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
  }
}

function valueOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
