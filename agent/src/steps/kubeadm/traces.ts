/** What a node of a cluster leaves behind, by name, and what of it is whose. Pure. */
import type { BeforeJoin } from "./memory.ts";

/** Interfaces that CNI plugins and kube-proxy make; tunl0 is the kernel's own and stays. */
const OWN_LINK =
  /^(cni\d+|cbr0|flannel[.-].+|cali[0-9a-f]{6,}|(vxlan|vxlan-v6|wireguard|wg-v6)\.calico|wireguard\.cali|wg-v6\.cali|cilium_.+|lxc([0-9a-f]{6,}|_health)|kube-ipvs0|kube-bridge|kube-dummy-if|nodelocaldns|weave|vethwe.*|antrea-.+)$/;
/** Configuration that CNI plugins write themselves, for machines of which nobody knows what was there before. */
const KNOWN_CNI_FILE =
  /^(\d+-)?(calico|canal|cilium|cilium-cni|flannel|weave|kindnet|kuberouter|kube-router|antrea|multus|kube-ovn|aws|azure)(-[a-z]+)*\.(conf|conflist|kubeconfig)$|^calico-(kubeconfig|tls)$|^(multus|whereabouts)\.d$/;

/** @param names in /etc/cni/net.d now */
export function ownCniFiles(names: readonly string[], before: BeforeJoin | undefined): readonly string[] {
  if (before === undefined) return names.filter((name) => KNOWN_CNI_FILE.test(name));
  const kept = new Set(before.cniFiles);
  return names.filter((name) => !kept.has(name));
}

/** @param names of the network interfaces now */
export function ownLinks(names: readonly string[], before: BeforeJoin | undefined): readonly string[] {
  const kept = new Set(before?.links);
  return names.filter((name) => OWN_LINK.test(name) && !kept.has(name));
}

/** @param text of /proc/net/dev */
export function linkNames(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => /^\s*([^\s:|]+(?::\d+)?):/.exec(line)?.[1] ?? []);
}

/** @param mountinfo of /proc/self/mountinfo @returns mount points below a directory, the deepest and latest first */
export function mountsBelow(mountinfo: string, directory: string): readonly string[] {
  const points = mountinfo.split("\n").map((line) => unescaped(line.split(" ")[4] ?? ""));
  return points.filter((point) => point.startsWith(`${directory}/`)).toReversed();
}

export interface VirtualService {
  /** TCP, UDP, SCTP. */
  readonly protocol: string;
  /** As the kernel prints it: IPv4 in dots, IPv6 in brackets. */
  readonly address: string;
  readonly port: number;
}

/** @param text of /proc/net/ip_vs; services by firewall mark are nobody's that we know, and left out */
export function virtualServices(text: string): readonly VirtualService[] {
  return text.split("\n").flatMap((line) => {
    const match = /^(TCP|UDP|SCTP)\s+(?:([0-9A-F]{8})|(\[[0-9a-f:]+\])):([0-9A-F]{4})\b/.exec(line);
    if (match === null) return [];
    const [, protocol = "", ip4, ip6, port = ""] = match;
    const dotted = ip4?.replace(/../g, (byte) => `${Number.parseInt(byte, 16)}.`).slice(0, -1);
    return [{ protocol, address: dotted ?? trimmed(ip6 ?? ""), port: Number.parseInt(port, 16) }];
  });
}

/** As virtualServices tells addresses. @param address as ip prints it: IPv6 with its longest run of zeros left out */
export function serviceAddress(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = (text: string): readonly string[] => text.split(":").filter((group) => group !== "");
  const zeros = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  return `[${[...groups(head), ...Array.from({ length: zeros }, () => "0"), ...groups(tail ?? "")].join(":")}]`;
}

/** The kernel prints all eight groups with their zeros. */
function trimmed(bracketed: string): string {
  return `[${bracketed.slice(1, -1).replace(/\b0+(?=[0-9a-f])/g, "")}]`;
}

/** mountinfo writes blanks, tabs, newlines and backslashes as octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_whole, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
