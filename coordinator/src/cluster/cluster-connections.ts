/** The APIs of the clusters whose kubeconfig is stored: opened when first needed, opened anew when the kubeconfig has changed. */
import type { Clock, Log } from "@drover/lifecycle";
import type { SealedSecret } from "../records.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { readJson } from "../store/values.ts";
import { type ClusterApi, ClusterApiError } from "./cluster-api.ts";
import { type Kubeconfig, readKubeconfig } from "./kubeconfig.ts";
import { type SecretBox, SecretDamaged, SecretKeyMismatch } from "./secret-box.ts";

export type ConnectCluster = (kubeconfig: Kubeconfig, clock: Clock) => Promise<ClusterApi>;

export type Connection = { readonly ok: true; readonly api: ClusterApi } | Refusal;

export interface ClusterConnectionsParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly box: SecretBox;
  readonly connect: ConnectCluster;
}

export class ClusterConnections {
  readonly #parts: ClusterConnectionsParts;
  readonly #open = new Map<string, { readonly revision: number; readonly api: Promise<ClusterApi> }>();

  constructor(parts: ClusterConnectionsParts) {
    this.#parts = parts;
  }

  /** Contacts nobody. */
  async to(cluster: string): Promise<Connection> {
    const { store, box, clock, connect } = this.#parts;
    const key = keys.secret("kubeconfig", cluster);
    const entry = await store.get(key);
    if (entry === undefined) {
      return refuse(
        "NoKubeconfig",
        `there is no kubeconfig of Cluster/${cluster}; give it: drover cluster adopt ${cluster} --kubeconfig FILE`,
      );
    }
    const held = this.#open.get(cluster);
    if (held?.revision === entry.revision) return { ok: true, api: await held.api };
    let kubeconfig: Kubeconfig;
    try {
      const reading = readKubeconfig(box.open(key, readJson(entry) as SealedSecret), clock.now());
      if (!reading.ok) {
        const problems = reading.problems.join("; ");
        return refuse(
          "NoKubeconfig",
          `the kubeconfig of Cluster/${cluster} is of no use any more: ${problems}; adopt it again with a new one`,
        );
      }
      kubeconfig = reading.kubeconfig;
    } catch (error) {
      if (error instanceof SecretKeyMismatch || error instanceof SecretDamaged) return refuse("SecretKeyMismatch", error.message);
      throw error;
    }
    const api = connect(kubeconfig, clock);
    this.#open.set(cluster, { revision: entry.revision, api });
    if (held !== undefined) this.#close(held.api);
    return { ok: true, api: await api };
  }

  /** What was open last, though its kubeconfig may be gone: to take away what is ours from a cluster that is given up. */
  last(cluster: string): Promise<ClusterApi> | undefined {
    return this.#open.get(cluster)?.api;
  }

  drop(cluster: string): void {
    const held = this.#open.get(cluster);
    this.#open.delete(cluster);
    if (held !== undefined) this.#close(held.api);
  }

  /** Lets those go that nobody needs any more. */
  dropUnneeded(isNeeded: (cluster: string) => boolean): void {
    for (const cluster of this.#open.keys()) if (!isNeeded(cluster)) this.drop(cluster);
  }

  async closeAll(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled(open.map(async ({ api }) => (await api).close()));
  }

  #close(api: Promise<ClusterApi>): void {
    api
      .then((opened) => opened.close())
      .catch((error: unknown) => this.#parts.log.warn({ err: error }, "connections to a cluster could not be closed"));
  }
}

/** The refusal that a failed call is for whoever asked. @throws what is no ClusterApiError */
export function refusalOf(cluster: string, error: unknown): Refusal {
  if (!(error instanceof ClusterApiError)) throw error;
  const refused = error.code === "Unauthorized" || error.code === "Forbidden";
  return refuse(refused ? "ClusterRefused" : "ClusterUnreachable", `Cluster/${cluster}: ${error.message}`);
}
