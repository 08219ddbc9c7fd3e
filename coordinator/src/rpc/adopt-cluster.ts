/** An operator hands over a cluster: its kubeconfig becomes a Secret before anything else happens, and is told to nobody but the module that keeps it. */
import { type Clock, DeadlineExceeded, type Random, Secret, withDeadline } from "@drover/lifecycle";
import type { AdoptClusterRequest } from "@drover/proto";
import { auditOperation } from "../audit/audit.ts";
import type { AdoptAnswer, Clusters } from "../cluster/clusters.ts";
import { Refused, refuse } from "../refusal.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Seen, View } from "../resources/view.ts";
import { keys } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import { wordless } from "../wordless-error.ts";
import { kubeconfigFrom, nameFrom, textFrom } from "./operator-requests.ts";

/** The cluster is asked before anything is stored. */
const ADOPT_DEADLINE_MS = 60_000;
const CATCH_UP_DEADLINE_MS = 10_000;

export interface AdoptClusterParts {
  readonly store: Store;
  readonly catalog: Pick<Catalog, "reached">;
  readonly view: Pick<View, "see">;
  readonly clock: Clock;
  readonly random: Random;
  /** undefined where no cluster is taken into care. */
  readonly clusters: Pick<Clusters, "adopt"> | undefined;
}

export interface Adopted extends Pick<Extract<AdoptAnswer, { ok: true }>, "outcome" | "warnings"> {
  readonly seen: Seen;
}

/** The kubeconfig's bytes in the request are gone afterwards. @throws Refused */
export async function adoptCluster(parts: AdoptClusterParts, request: AdoptClusterRequest, actor: string): Promise<Adopted> {
  const { clusters, catalog, clock, random, store, view } = parts;
  // Taken out of the request first of all: from here on it cannot be printed.
  const bytes = request.kubeconfig;
  const kubeconfig = new Secret(Buffer.from(bytes));
  bytes.fill(0);
  const name = nameFrom("name", request.name);
  const endpoint = textFrom("endpoint", request.endpoint, false);
  const text = kubeconfigFrom(kubeconfig);
  if (clusters === undefined) throw new Refused(refuse("NotReady", "this coordinator takes no clusters into care"));
  const answer = await withDeadline(clock, "adopting the cluster", ADOPT_DEADLINE_MS, undefined, (signal) =>
    clusters.adopt({ name, endpoint, kubeconfig: text, actor }, signal),
  ).catch((error: unknown) => {
    if (error instanceof Refused || error instanceof DeadlineExceeded) throw error;
    throw wordless(error, "a cluster was adopted");
  });
  if (!answer.ok) {
    const audit = { atMs: clock.now(), actor, action: "AdoptCluster", target: `Cluster/${name}`, outcome: "refused" } as const;
    // The reason alone: whatever words are found for what a kubeconfig led to, they are not kept.
    await store.commit([auditOperation({ ...audit, message: answer.reason }, random)]);
    throw new Refused(answer);
  }
  const entry = await store.get(keys.object("Cluster", name));
  await withDeadline(clock, "following the store", CATCH_UP_DEADLINE_MS, undefined, () => catalog.reached(entry?.revision ?? 0));
  const seen = view.see("Cluster", name);
  if (seen === undefined) throw new Refused(refuse("Conflict", `Cluster ${name} was deleted meanwhile; adopt it again`));
  return { seen, outcome: answer.outcome, warnings: answer.warnings };
}
