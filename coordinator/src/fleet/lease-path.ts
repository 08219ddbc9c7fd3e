/**
 * Asks a node's own Kubernetes cluster: a living kubelet renews the node's Lease every 10 s. Compares two readings with each other, never with a
 * clock, and believes that a Lease stands still only while the cluster's own Lease moves: a cluster that stores nothing any more stops them all.
 */
import { type Clock, sleep, withDeadline } from "@drover/lifecycle";
import { type ClusterApi, ClusterApiError } from "../cluster/cluster-api.ts";
import type { Evidence, SecondPath } from "./second-path.ts";

export type LeaseApi = Pick<ClusterApi, "lease" | "node">;

export interface LeasePathParts {
  readonly clock: Clock;
  /** undefined: it is in no cluster that is known. */
  readonly kubernetesNodeOf: (nodeId: string) => { readonly cluster: string; readonly nodeName: string } | undefined;
  /** undefined: there is no way to it now. */
  readonly apiOf: (cluster: string) => Promise<LeaseApi | undefined>;
}

const BETWEEN_READINGS_MS = 12_000;
const CALL_DEADLINE_MS = 5_000;
const NODE_LEASES = "kube-node-lease";
/** Renewed every 2 s by whoever leads. */
const WITNESS = { namespace: "kube-system", name: "kube-controller-manager" };
/** Many nodes of one cluster may be asked about in the same second. */
const WITNESS_SHARED_MS = 1_000;

export class LeasePath implements SecondPath {
  readonly #parts: LeasePathParts;
  readonly #witnesses = new Map<string, { readonly atMs: number; readonly renewed: Promise<number | undefined> }>();

  constructor(parts: LeasePathParts) {
    this.#parts = parts;
  }

  hasPath(nodeId: string): boolean {
    return this.#parts.kubernetesNodeOf(nodeId) !== undefined;
  }

  async ask(nodeId: string, signal: AbortSignal): Promise<Evidence> {
    const { clock, kubernetesNodeOf, apiOf } = this.#parts;
    const node = kubernetesNodeOf(nodeId);
    const api = node && (await apiOf(node.cluster));
    if (node === undefined || api === undefined) return "none";
    const reading = async () => ({
      witness: await this.#witness(node.cluster, api),
      lease: await this.#call(signal, (ended) => api.lease({ namespace: NODE_LEASES, name: node.nodeName }, ended)),
    });
    const first = await reading();
    await sleep(clock, BETWEEN_READINGS_MS, signal);
    const second = await reading();
    const lease = moved(first.lease?.renewTimeMs, second.lease?.renewTimeMs);
    if (lease === true) return "alive";
    if (moved(first.witness, second.witness) !== true) return "none";
    if (lease === false) return "dead";
    // Unknown is what the cluster says of a node that has fallen silent to it; False is said by a kubelet that lives, and True may be of before.
    const seen = await this.#call(signal, (ended) => api.node(node.nodeName, ended));
    return seen?.ready === "Unknown" ? "dead" : "none";
  }

  #witness(cluster: string, api: LeaseApi): Promise<number | undefined> {
    const nowMs = this.#parts.clock.monotonicMs();
    const held = this.#witnesses.get(cluster);
    if (held !== undefined && nowMs - held.atMs < WITNESS_SHARED_MS) return held.renewed;
    // Of everybody who asks in this second, and thus ended by nobody's signal.
    const renewed = this.#call(undefined, (ended) => api.lease(WITNESS, ended)).then((lease) => lease?.renewTimeMs);
    this.#witnesses.set(cluster, { atMs: nowMs, renewed });
    return renewed;
  }

  /** undefined: there is none, or no answer: neither proves anything. */
  async #call<T>(signal: AbortSignal | undefined, work: (ended: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const { clock } = this.#parts;
    const answer = withDeadline(clock, "a call to a cluster", CALL_DEADLINE_MS, signal, async (ended) => {
      try {
        return { value: await work(ended) };
      } catch (error) {
        if (error instanceof ClusterApiError) return { value: undefined };
        throw error;
      }
    });
    try {
      return (await answer).value;
    } catch (error) {
      if ((error as Error).name === "DeadlineExceeded") return undefined;
      throw error;
    }
  }
}

/** undefined: one of them is not known. */
function moved(before: number | undefined, after: number | undefined): boolean | undefined {
  return before === undefined || after === undefined ? undefined : before !== after;
}
