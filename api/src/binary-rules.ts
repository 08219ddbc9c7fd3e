/**
 * Which programs a profile may put where: the coordinator asks it of what people write, the agent again of what it is told.
 * A plan is root on every node; these directories and names are all that it can reach by this way.
 */
import type { Finding, Path } from "./problems.ts";
import { listAt, textAt } from "./raw.ts";

/** Programs of Kubernetes live here beside others; any name may be used. */
const OWN_DIRECTORIES = ["/usr/local/bin", "/usr/local/sbin", "/opt/bin", "/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"];
/** The system's own programs live here too: only these names, or a profile could replace its shell. */
const SYSTEM_DIRECTORIES = ["/usr/bin", "/usr/sbin"];
const SYSTEM_NAMES = new Set([
  "kubeadm",
  "kubelet",
  "kubectl",
  "crictl",
  "critest",
  "containerd",
  "containerd-shim-runc-v2",
  "ctr",
  "nerdctl",
  "runc",
  "crun",
]);
/** The agent would restart itself for ever; and without the bus and systemd's own services nothing could be asked or restarted. */
const NEVER_RESTARTED = /^(drover|dbus|systemd)[-.@]/;
/** What was at a target before is kept beside it under this ending. */
export const KEPT_SUFFIX = ".before-drover";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const UNIT = /^[A-Za-z0-9:_@][A-Za-z0-9:_.@-]{0,200}\.service$/;

/** @param json a list of binaries, as of a profile or of a plan; of what has the wrong shape nothing is said. Paths begin at path. */
export function checkBinaries(json: unknown, path: Path): readonly Finding[] {
  const findings: Finding[] = [];
  const names = new Map<string, number>();
  const targets = new Map<string, string>();
  for (const [index, binary] of (listAt(json, []) ?? []).entries()) {
    const name = textAt(binary, ["name"]);
    const first = name === undefined ? undefined : names.get(name);
    if (name !== undefined && first === undefined) names.set(name, index);
    if (first !== undefined) {
      const hint = "give each a name of its own, or list all its files under one";
      findings.push({ path: [...path, index, "name"], at: "value", message: `is already item ${first} of this list`, hint });
    }
    findings.push(...checkSource(textAt(binary, ["source"]), [...path, index, "source"]));
    findings.push(...checkRestarts(listAt(binary, ["restarts"]) ?? [], [...path, index, "restarts"]));
    const files = listAt(binary, ["files"]) ?? [];
    findings.push(...checkMembers(files, [...path, index, "files"]));
    for (const [fileIndex, file] of files.entries()) {
      const target = textAt(file, ["target"]);
      if (target === undefined) continue;
      const at: Path = [...path, index, "files", fileIndex, "target"];
      findings.push(...checkTarget(target, at));
      const other = targets.get(target);
      if (other === undefined) targets.set(target, name ?? `item ${index}`);
      else
        findings.push({
          path: at,
          at: "value",
          message: `is already a target of ${other}`,
          hint: "one file can be there only: remove one",
        });
    }
  }
  return findings;
}

/** What a plan's shape leaves open and a profile's schema does not. Undefined: nothing is wrong. */
export function malformedBinary(binary: {
  readonly name: string;
  readonly digest: string;
  readonly files: readonly { readonly member: string }[];
  readonly restarts: readonly string[];
}): string | undefined {
  if (!DIGEST.test(binary.digest)) return `${binary.name}: digest ${JSON.stringify(binary.digest)} is not sha256: and 64 hex digits`;
  if (binary.files.length === 0) return `${binary.name}: names no files`;
  const unit = binary.restarts.find((each) => !UNIT.test(each));
  if (unit !== undefined) return `${binary.name}: ${JSON.stringify(unit)} is no service unit`;
  return undefined;
}

/** @param unit name with its suffix */
export function mayRestart(unit: string): boolean {
  return !NEVER_RESTARTED.test(unit);
}

function checkRestarts(units: readonly unknown[], path: Path): readonly Finding[] {
  return units.flatMap((unit, index): Finding[] => {
    if (typeof unit !== "string" || mayRestart(unit)) return [];
    const hint = "name the services that run the program, such as kubelet.service; those of Drover, D-Bus and systemd never";
    return [{ path: [...path, index], at: "value", message: `${unit} may not be restarted by a plan`, hint }];
  });
}

function checkTarget(target: string, path: Path): readonly Finding[] {
  const finding = (message: string, hint: string): Finding[] => [{ path, at: "value", message, hint }];
  const slash = target.lastIndexOf("/");
  const [directory, name] = [target.slice(0, slash), target.slice(slash + 1)];
  const isSystem = SYSTEM_DIRECTORIES.includes(directory);
  if (!isSystem && !OWN_DIRECTORIES.includes(directory)) {
    return finding(
      "is in no directory where programs may be put",
      `it may be directly in ${[...OWN_DIRECTORIES, ...SYSTEM_DIRECTORIES].join(", ")}`,
    );
  }
  if (!NAME.test(name)) return finding(`has a name that no program has: ${JSON.stringify(name)}`, "letters, digits, '.', '_', '+' and '-'");
  if (name.endsWith(KEPT_SUFFIX)) return finding(`ends with ${KEPT_SUFFIX}`, "what was at a target before is kept under such names");
  if (/^drover(-|$)/.test(name)) return finding("is a program of Drover itself", "the agent is not replaced by its own plan");
  if (isSystem && !SYSTEM_NAMES.has(name)) {
    return finding(`may not be replaced in ${directory}`, `only ${[...SYSTEM_NAMES].join(", ")} may; put others into /usr/local/bin`);
  }
  return [];
}

function checkSource(source: string | undefined, path: Path): readonly Finding[] {
  const finding = (message: string, hint: string): Finding[] => [{ path, at: "value", message, hint }];
  if (source === undefined) return [];
  if (source.startsWith("/")) {
    if (!source.includes("\0") && !source.split("/").includes("..") && !/^\/(proc|sys|dev)(\/|$)/.test(source)) return [];
    return finding("is no place for a program", "name a file on a disk of the node");
  }
  const url = URL.canParse(source) ? new URL(source) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) return finding("is neither an http or https URL nor an absolute path", "");
  if (url.username === "" && url.password === "") return [];
  return finding("holds a user or password", "profiles and plans are kept in clear: serve the file without one, its digest protects it");
}

/** One source is either an archive or the file itself. */
function checkMembers(files: readonly unknown[], path: Path): readonly Finding[] {
  const members = files.map((file) => textAt(file, ["member"]) ?? "");
  const findings = members.flatMap((member, index): Finding[] => {
    const parts = member.split("/");
    const isPlain = member === "" || (!member.includes("\0") && !member.startsWith("/") && !parts.includes("..") && /[^./]/.test(member));
    if (isPlain) return [];
    return [{ path: [...path, index, "member"], at: "value", message: "is no path of a file in an archive", hint: "such as bin/kubelet" }];
  });
  const bare = members.indexOf("");
  if (bare >= 0 && members.some((member) => member !== "")) {
    const hint = "name a member for each, or for none when the source is the file itself";
    findings.push({ path: [...path, bare], at: "value", message: "names no member, but another file of this source does", hint });
  }
  return findings;
}
