/** Asks the pods of one node to go, each again and again with growing pauses while it may not, and remembers why it may not. */
import { type Backoff, type Clock, exponentialBackoff, type Random } from "@drover/lifecycle";
import { ClusterApiError, type ClusterApiErrorCode, type ClusterPod, type DrainingApi } from "../cluster/cluster-api.ts";
import type { Hold } from "./leaving-pods.ts";

const AGAIN = { baseMs: 2_000, maxMs: 15_000 };
/** Said of the cluster, not of one pod. */
const NO_USE_GOING_ON: ReadonlySet<ClusterApiErrorCode> = new Set(["Unreachable", "Unauthorized"]);

export class Evictions {
  readonly #clock: Clock;
  readonly #random: Random;
  /** By uid of a pod. */
  #held = new Map<string, { readonly hold: Hold; readonly again: Backoff; readonly dueMs: number }>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Asks those that are not on their way and whose turn it is, one after the other.
   * @param mayGoOn asked before each. @returns by uid why pods may not go. @throws ClusterApiError when it is no use to go on
   */
  async ask(
    leaving: readonly ClusterPod[],
    api: Pick<DrainingApi, "evict">,
    mayGoOn: () => boolean,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Hold>> {
    const uids = new Set(leaving.map(({ uid }) => uid));
    this.#held = new Map([...this.#held].filter(([uid]) => uids.has(uid)));
    for (const pod of leaving) {
      if (pod.isTerminating || this.#clock.monotonicMs() < (this.#held.get(pod.uid)?.dueMs ?? 0)) continue;
      if (!mayGoOn()) break;
      await this.#evict(pod, api, signal);
    }
    return new Map([...this.#held].map(([uid, { hold }]) => [uid, hold]));
  }

  async #evict(pod: ClusterPod, api: Pick<DrainingApi, "evict">, signal: AbortSignal): Promise<void> {
    const hold = await whyHeld(pod, api, signal);
    if (hold === undefined) {
      this.#held.delete(pod.uid);
      return;
    }
    const again = this.#held.get(pod.uid)?.again ?? exponentialBackoff(this.#random, AGAIN);
    this.#held.set(pod.uid, { hold, again, dueMs: this.#clock.monotonicMs() + again.nextDelayMs() });
  }
}

/** undefined: it goes, or has gone. @throws ClusterApiError when it is no use to go on */
async function whyHeld(pod: ClusterPod, api: Pick<DrainingApi, "evict">, signal: AbortSignal): Promise<Hold | undefined> {
  try {
    const eviction = await api.evict(pod, signal);
    return eviction.outcome === "held" ? eviction : undefined;
  } catch (error) {
    if (!(error instanceof ClusterApiError) || signal.aborted || NO_USE_GOING_ON.has(error.code)) throw error;
    // Another pod of its name has come.
    if (error.code === "Conflict") return undefined;
    return { budget: undefined, message: error.message };
  }
}
