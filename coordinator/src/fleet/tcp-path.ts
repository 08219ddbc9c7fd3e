/** Knocks at a port of the machine, usually the kubelet's: three times unanswered is evidence; a refusal is a sign of life. */
import { isIPv4, isIPv6 } from "node:net";
import type { Facts } from "@drover/proto";
import { type Clock, sleep } from "@drover/lifecycle";
import type { Evidence, SecondPath } from "./second-path.ts";

export type Knock =
  /** Connected, refused or reset: by the machine itself. */
  | "answered"
  /** Nothing came back in time. */
  | "silent"
  /** It did not get as far as the machine, or somebody on the way spoke for it. */
  | "unproven";

export type ConnectTcp = (address: string, port: number, signal: AbortSignal) => Promise<Knock>;

export interface TcpPathParts {
  readonly clock: Clock;
  readonly connect: ConnectTcp;
  /** undefined: its set names no port, or it has told no address. */
  readonly targetOf: (nodeId: string) => { readonly addresses: readonly string[]; readonly port: number } | undefined;
}

const KNOCKS = 3;
/**
 * From one start to the next. Where the machine is a neighbour the kernel gives up looking for it after 3 s and then fails at once what is under way:
 * knocks closer together would be answered by our own kernel.
 */
const BETWEEN_KNOCKS_MS = 4_000;

export class TcpPath implements SecondPath {
  readonly #parts: TcpPathParts;

  constructor(parts: TcpPathParts) {
    this.#parts = parts;
  }

  hasPath(nodeId: string): boolean {
    return this.#parts.targetOf(nodeId) !== undefined;
  }

  async ask(nodeId: string, signal: AbortSignal): Promise<Evidence> {
    const { clock, connect, targetOf } = this.#parts;
    const target = targetOf(nodeId);
    if (target === undefined) return "none";
    for (let knock = 1; knock <= KNOCKS; knock += 1) {
      const nextMs = clock.monotonicMs() + BETWEEN_KNOCKS_MS;
      const heard = await Promise.all(target.addresses.map((address) => connect(address, target.port, signal)));
      if (heard.includes("answered")) return "alive";
      if (heard.includes("unproven")) return "none";
      if (knock < KNOCKS) await sleep(clock, nextMs - clock.monotonicMs(), signal);
    }
    return "dead";
  }
}

const MAX_ADDRESSES = 4;
/** Interfaces whose addresses stand for other things than the machine: bridges of containers, addresses of services, tunnels. */
const NOT_THE_MACHINE = /^(lo|docker|br-|cni|flannel|cali|tunl|vxlan|veth|virbr|cilium|lxc|kube-|nodelocaldns|weave|dummy|podman)/;

/** Where the machine itself can be reached from elsewhere; IPv6 only where it has no IPv4. */
export function reachableAddresses(facts: Pick<Facts, "nics">): readonly string[] {
  const addresses = facts.nics
    .filter(({ name }) => !NOT_THE_MACHINE.test(name))
    .flatMap((nic) => nic.addresses)
    .filter((address) => !/^(127\.|169\.254\.|0\.|::1$|fe80:)/i.test(address));
  const ipv4 = addresses.filter((address) => isIPv4(address));
  return (ipv4.length > 0 ? ipv4 : addresses.filter((address) => isIPv6(address))).slice(0, MAX_ADDRESSES);
}
