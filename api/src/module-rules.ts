/** What a list of kernel modules must hold besides its shape. */
import type { Finding, Path } from "./problems.ts";
import { listAt } from "./raw.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,55}$/;

/** As the kernel writes it: there "-" and "_" are one. */
export function canonicalModuleName(name: string): string {
  return name.replaceAll("-", "_");
}

export function isModuleName(name: string): boolean {
  return NAME.test(name);
}

/** @param path of the list */
export function checkKernelModules(json: unknown, path: Path): readonly Finding[] {
  const firstOf = new Map<string, { readonly index: number; readonly name: string }>();
  return (listAt(json, path) ?? []).flatMap((name, index): Finding[] => {
    if (typeof name !== "string") return [];
    const first = firstOf.get(canonicalModuleName(name));
    if (first === undefined) {
      firstOf.set(canonicalModuleName(name), { index, name });
      return [];
    }
    const message = `is already item ${first.index} of this list${first.name === name ? "" : `: ${first.name} and ${name} are one module`}`;
    return [{ path: [...path, index], at: "value", message, hint: "remove one of them" }];
  });
}
