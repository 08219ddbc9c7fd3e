/** What a profile's containerd section must hold besides its shape. */
import type { Finding, Path } from "./problems.ts";
import { at, listAt, mappingAt, textAt } from "./raw.ts";

const SECTION: Path = ["spec", "containerd"];

export function checkContainerd(json: unknown): readonly Finding[] {
  if (mappingAt(json, SECTION) === undefined) return [];
  return [...checkDirectories(json), ...checkRuntimes(json), ...checkRegistries(json)];
}

function checkDirectories(json: unknown): readonly Finding[] {
  const root = textAt(json, [...SECTION, "rootDir"]);
  const state = textAt(json, [...SECTION, "stateDir"]);
  const mount = textAt(json, [...SECTION, "requiredMount"]);
  const findings: Finding[] = [];
  for (const [field, directory] of [
    ["rootDir", root],
    ["stateDir", state],
  ] as const) {
    if (directory === undefined || /^\/+[^/]/.test(directory)) continue;
    findings.push({ path: [...SECTION, field], at: "value", message: "must not be the root directory", hint: "" });
  }
  if (root !== undefined && state !== undefined && (isWithin(root, state) || isWithin(state, root))) {
    findings.push({ path: [...SECTION, "stateDir"], at: "value", message: "must not lie within rootDir, nor hold it", hint: "" });
  }
  if (mount !== undefined && root === undefined) {
    findings.push({
      path: [...SECTION, "requiredMount"],
      at: "key",
      message: "needs rootDir",
      hint: "it says what must be mounted before rootDir is used",
    });
  } else if (mount !== undefined && root !== undefined && !isWithin(root, mount)) {
    findings.push({ path: [...SECTION, "requiredMount"], at: "value", message: `must hold rootDir, which is ${root}`, hint: "" });
  }
  return findings;
}

function isWithin(path: string, directory: string): boolean {
  const normal = (text: string): string => `${text.replace(/\/+/g, "/").replace(/\/$/, "")}/`;
  return normal(path).startsWith(normal(directory));
}

function checkRuntimes(json: unknown): readonly Finding[] {
  const path: Path = [...SECTION, "runtimes"];
  const runtimes = listAt(json, path) ?? [];
  const findings = findRepeated(runtimes, path, "name");
  for (const [index, runtime] of runtimes.entries()) {
    for (const option of Object.keys(mappingAt(runtime, ["options"]) ?? {})) {
      if (/^[A-Za-z][A-Za-z0-9_]*$/.test(option)) continue;
      findings.push({
        path: [...path, index, "options", option],
        at: "key",
        message: "is no option's name",
        hint: "such as SystemdCgroup or BinaryName",
      });
    }
  }
  const chosen = textAt(json, [...SECTION, "defaultRuntime"]);
  const names = new Set(["runc", ...runtimes.map((runtime) => textAt(runtime, ["name"]))]);
  if (chosen !== undefined && !names.has(chosen)) {
    const message = `names the runtime ${JSON.stringify(chosen)}, which runtimes does not: containerd would not start`;
    findings.push({ path: [...SECTION, "defaultRuntime"], at: "value", message, hint: "add it to runtimes" });
  }
  return findings;
}

function checkRegistries(json: unknown): readonly Finding[] {
  const path: Path = [...SECTION, "registries"];
  const registries = listAt(json, path) ?? [];
  const findings = findRepeated(registries, path, "host");
  for (const [index, registry] of registries.entries()) {
    const server = textAt(registry, ["server"]);
    if (server !== undefined) findings.push(...checkUrl(server, [...path, index, "server"]));
    const mirrors = listAt(registry, ["mirrors"]) ?? [];
    findings.push(...findRepeated(mirrors, [...path, index, "mirrors"], "url"));
    for (const [place, mirror] of mirrors.entries()) findings.push(...checkMirror(mirror, [...path, index, "mirrors", place]));
  }
  return findings;
}

function checkMirror(mirror: unknown, path: Path): readonly Finding[] {
  const url = textAt(mirror, ["url"]);
  const findings: Finding[] = url === undefined ? [] : [...checkUrl(url, [...path, "url"])];
  const caPem = textAt(mirror, ["caPem"]);
  if (caPem === undefined) return findings;
  const caPath: Path = [...path, "caPem"];
  if (caPem.includes("PRIVATE KEY")) {
    findings.push({
      path: caPath,
      at: "key",
      message: "holds a private key",
      hint: "give the CA's certificate only, and replace that key: it has been seen",
    });
  } else if (!/-----BEGIN CERTIFICATE-----[\s\S]+-----END CERTIFICATE-----/.test(caPem)) {
    findings.push({ path: caPath, at: "key", message: "is no certificate in PEM", hint: "it begins with -----BEGIN CERTIFICATE-----" });
  }
  if (at(mirror, ["skipVerify"]) === true) {
    findings.push({ path: [...path, "skipVerify"], at: "value", message: "must not be true beside caPem", hint: "remove one of them" });
  }
  return findings;
}

function checkUrl(url: string, path: Path): readonly Finding[] {
  // The URL parser drops blanks and control characters without a word; containerd does not.
  if (/[\s\p{Cc}"'<>\\]/u.test(url)) return [{ path, at: "value", message: "holds characters that no URL has", hint: "" }];
  if (!URL.canParse(url)) return [];
  const { username, password, search, hash } = new URL(url);
  if (username !== "" || password !== "")
    return [{ path, at: "value", message: "holds a name or password", hint: "profiles are no place for secrets: remove it" }];
  return search === "" && hash === "" ? [] : [{ path, at: "value", message: "must end before '?' and '#'", hint: "" }];
}

function findRepeated(items: readonly unknown[], path: Path, field: string): Finding[] {
  const seen = new Set<string>();
  return items.flatMap((item, index): Finding[] => {
    const value = textAt(item, [field]);
    if (value === undefined) return [];
    if (seen.has(value))
      return [
        { path: [...path, index, field], at: "value", message: `repeats the ${field} of an earlier item`, hint: "remove one of them" },
      ];
    seen.add(value);
    return [];
  });
}
