/**
 * Which sysctls may be set, and to what: asked when a profile is written and again by the agent before it writes.
 * Denied keys stay denied whatever the allow-list grows to: they make the kernel run programs, cannot be undone, or are triggers.
 */
import { didYouMean } from "./nearest.ts";
import { SYSCTL_RULES, type SysctlRule } from "./sysctl-allow-list.ts";

/** NodePort services' default range, both ends included. */
export const NODE_PORTS = { first: 30_000, last: 32_767 } as const;

export interface SysctlFinding {
  readonly key: string;
  readonly message: string;
  readonly hint: string;
}

const DENIED: readonly { readonly keys: RegExp; readonly because: string }[] = [
  {
    keys: /^(kernel\.(core_pattern|core_pipe_limit|modprobe|hotplug|poweroff_cmd|reboot-cmd|usermodehelper(\..*)?)|fs\.binfmt_misc(\..*)?)$/,
    because: "makes the kernel run programs of its writer's choice; it is denied for good",
  },
  {
    keys: /^kernel\.(modules_disabled|kexec_load_disabled|firmware_config(\..*)?)$/,
    because: "cannot be taken back; it is denied for good",
  },
  { keys: /^(kernel\.(ns_last_pid|hostname|domainname)|kernel\.ftrace.*)$/, because: "is no tuning; it is denied for good" },
  {
    keys: /^(vm\.(drop_caches|compact_memory|stat_refresh)|net\.ipv[46]\.route\.flush)$/,
    because: "does something once when written and holds no value",
  },
];

const INTERFACE_KEY = /^(net\.ipv[46]\.(?:conf|neigh))\.([^.]+)\.([^.]+)$/;
/** A dot in an interface's name is written as a slash, as sysctl(8) does. */
const INTERFACE = /^(?=.{1,15}$)[A-Za-z0-9_@-]+(\/[A-Za-z0-9_@-]+)*$/;

/** What is wrong with setting key to value; undefined when it may be set. */
export function checkSysctl(key: string, value: string | number): string | undefined {
  const denied = DENIED.find(({ keys }) => keys.test(key.replaceAll("/", ".").toLowerCase()));
  if (denied !== undefined) return denied.because;
  const rule = ruleOf(key);
  if (rule === undefined) return "is not among the sysctls that may be set";
  return checkValue(rule, canonicalSysctlValue(key, value));
}

/** Checks each of the values and what they mean together. */
export function checkSysctls(values: Readonly<Record<string, string | number>>): readonly SysctlFinding[] {
  const findings: SysctlFinding[] = [];
  const good = new Map<string, string>();
  for (const [key, value] of Object.entries(values)) {
    const message = checkSysctl(key, value);
    if (message === undefined) good.set(key, canonicalSysctlValue(key, value));
    else findings.push({ key, message, hint: ruleOf(key) === undefined ? sysctlHint(key) : "" });
  }
  findings.push(...checkPortRange(good), ...checkRivals(good), ...checkOrder(good));
  return findings;
}

/** The value as the kernel would print it, blanks folded to one space: what read-back is compared with. */
export function canonicalSysctlValue(key: string, value: string | number): string {
  const folded = String(value).trim().replace(/\s+/g, " ");
  if (ruleOf(key)?.type !== "ports") return folded;
  const ranges = parsePorts(folded);
  return ranges === undefined ? folded : mergePorts(ranges).map(formatPorts).join(",");
}

/** Dot form to the path under /proc/sys, without a leading slash: "net.ipv4.conf.eth0/100.rp_filter" to "net/ipv4/conf/eth0.100/rp_filter". */
export function sysctlPath(key: string): string {
  return key.replace(/[./]/g, (separator) => (separator === "." ? "/" : "."));
}

/** What a key may be set to, in words; undefined for a key that may not be set. */
export function describeSysctl(key: string): string | undefined {
  const rule = ruleOf(key);
  return rule === undefined ? undefined : describeRule(rule);
}

function ruleOf(key: string): SysctlRule | undefined {
  const exact = SYSCTL_RULES.get(key);
  if (exact !== undefined) return key.includes("*") ? undefined : exact;
  const [, table, device, name] = INTERFACE_KEY.exec(key) ?? [];
  return device !== undefined && INTERFACE.test(device) ? SYSCTL_RULES.get(`${table}.*.${name}`) : undefined;
}

function sysctlHint(key: string): string {
  const dotted = key.replaceAll("/", ".");
  if (dotted !== key && ruleOf(dotted) !== undefined) return `write it with dots: ${dotted}`;
  const [, table, device, name] = INTERFACE_KEY.exec(key) ?? [];
  const wanted = name === undefined ? key : `${table}.*.${name}`;
  return didYouMean(wanted, SYSCTL_RULES.keys()).replace(".*.", `.${device}.`);
}

function describeRule(rule: SysctlRule): string {
  switch (rule.type) {
    case "int":
      return `a whole number from ${rule.min} to ${rule.max}${rule.powerOfTwo === true ? " that is a power of two" : ""}`;
    case "enum":
      return rule.values.length === 2 ? rule.values.join(" or ") : `one of ${rule.values.join(", ")}`;
    case "tuple":
      return `${rule.count} whole numbers from ${rule.min} to ${rule.max}${rule.ordered ? ", none smaller than the one before" : ""}`;
    case "text":
      return rule.says;
    case "ports":
      return "ports and ranges of ports such as 8080,30000-32767, or empty";
  }
}

function checkValue(rule: SysctlRule, value: string): string | undefined {
  return isFit(rule, value) ? undefined : `must be ${describeRule(rule)}, not ${JSON.stringify(value)}`;
}

function isFit(rule: SysctlRule, value: string): boolean {
  switch (rule.type) {
    case "int":
      return isWithin(value, rule.min, rule.max) && (rule.powerOfTwo !== true || isPowerOfTwo(BigInt(value)));
    case "enum":
      return rule.values.some((allowed) => String(allowed) === value);
    case "tuple": {
      const numbers = value.split(" ");
      if (numbers.length !== rule.count || !numbers.every((number) => isWithin(number, rule.min, rule.max))) return false;
      return !rule.ordered || numbers.every((number, index) => index === 0 || BigInt(number) >= BigInt(numbers[index - 1]!));
    }
    case "text":
      return rule.pattern.test(value);
    case "ports":
      return parsePorts(value) !== undefined;
  }
}

/** Only the form in which the kernel prints a number: no sign, zeros or base before it. */
function isWithin(text: string, min: number | bigint, max: number | bigint): boolean {
  if (!/^(0|-?[1-9]\d{0,19})$/.test(text)) return false;
  const value = BigInt(text);
  return value >= BigInt(min) && value <= BigInt(max);
}

function isPowerOfTwo(value: bigint): boolean {
  return value > 0n && (value & (value - 1n)) === 0n;
}

interface Ports {
  readonly first: number;
  readonly last: number;
}

function parsePorts(text: string): readonly Ports[] | undefined {
  if (text === "") return [];
  const ranges: Ports[] = [];
  for (const part of text.split(",")) {
    const match = /^ ?(\d{1,5})(?:-(\d{1,5}))? ?$/.exec(part);
    if (match === null) return undefined;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (first > last || last > 65_535) return undefined;
    ranges.push({ first, last });
  }
  return ranges;
}

function mergePorts(ranges: readonly Ports[]): readonly Ports[] {
  const merged: Ports[] = [];
  for (const range of ranges.toSorted((a, b) => a.first - b.first)) {
    const last = merged.at(-1);
    if (last !== undefined && range.first <= last.last + 1)
      merged[merged.length - 1] = { first: last.first, last: Math.max(last.last, range.last) };
    else merged.push(range);
  }
  return merged;
}

function formatPorts({ first, last }: Ports): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function checkPortRange(values: ReadonlyMap<string, string>): readonly SysctlFinding[] {
  const key = "net.ipv4.ip_local_port_range";
  const range = values.get(key);
  if (range === undefined) return [];
  const [first, last] = range.split(" ").map(Number) as [number, number];
  const unprivileged = Number(values.get("net.ipv4.ip_unprivileged_port_start") ?? 1024);
  const findings: SysctlFinding[] = [];
  if (first < unprivileged) {
    const message = `begins at ${first}, below the first unprivileged port ${unprivileged}: the kernel refuses that`;
    findings.push({ key, message, hint: `begin at ${unprivileged}, or set net.ipv4.ip_unprivileged_port_start` });
  }
  const overlap = { first: Math.max(first, NODE_PORTS.first), last: Math.min(last, NODE_PORTS.last) };
  const reserved = mergePorts(parsePorts(values.get("net.ipv4.ip_local_reserved_ports") ?? "") ?? []);
  if (overlap.first <= overlap.last && !reserved.some((ports) => ports.first <= overlap.first && ports.last >= overlap.last)) {
    const nodePorts = formatPorts(NODE_PORTS);
    findings.push({
      key,
      message: `overlaps the Kubernetes node ports ${nodePorts}: a connection could take a service's port`,
      hint: `begin above ${NODE_PORTS.last} or end below ${NODE_PORTS.first}, or cover ${formatPorts(overlap)} by net.ipv4.ip_local_reserved_ports`,
    });
  }
  return findings;
}

/** Writing one of these sets the other to 0: together they would never both be read back. */
const RIVALS: readonly (readonly [string, string])[] = [
  ["vm.dirty_ratio", "vm.dirty_bytes"],
  ["vm.dirty_background_ratio", "vm.dirty_background_bytes"],
  ["vm.overcommit_ratio", "vm.overcommit_kbytes"],
];

function checkRivals(values: ReadonlyMap<string, string>): readonly SysctlFinding[] {
  return RIVALS.filter(([a, b]) => values.has(a) && values.has(b)).map(([a, b]) => ({
    key: b,
    message: `cannot be set together with ${a}: the kernel resets one when the other is written`,
    hint: "remove one of them",
  }));
}

/** Limits that make sense only in this order. */
const ORDERED: readonly (readonly [string, string])[] = [
  ...[4, 6].flatMap((version): [string, string][] => [
    [`net.ipv${version}.neigh.default.gc_thresh1`, `net.ipv${version}.neigh.default.gc_thresh2`],
    [`net.ipv${version}.neigh.default.gc_thresh2`, `net.ipv${version}.neigh.default.gc_thresh3`],
  ]),
  ["net.core.rmem_default", "net.core.rmem_max"],
  ["net.core.wmem_default", "net.core.wmem_max"],
  ["fs.mqueue.msg_default", "fs.mqueue.msg_max"],
  ["fs.mqueue.msgsize_default", "fs.mqueue.msgsize_max"],
  ["net.ipv4.ipfrag_low_thresh", "net.ipv4.ipfrag_high_thresh"],
  ["net.ipv6.ip6frag_low_thresh", "net.ipv6.ip6frag_high_thresh"],
];

function checkOrder(values: ReadonlyMap<string, string>): readonly SysctlFinding[] {
  const findings: SysctlFinding[] = [];
  for (const [lower, higher] of ORDERED) {
    const low = values.get(lower);
    const high = values.get(higher);
    if (low === undefined || high === undefined || BigInt(low) <= BigInt(high)) continue;
    findings.push({ key: higher, message: `is ${high}, less than ${lower} with ${low}`, hint: "" });
  }
  return findings;
}
