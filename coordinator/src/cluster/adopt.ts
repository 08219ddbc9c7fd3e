/** Adopting a cluster: its API has answered before anything is stored; then the Cluster object, its kubeconfig and the audit record are one commit. */
import { API_VERSION, type Cluster } from "@drover/api";
import { type Clock, type Log, type Random, Secret } from "@drover/lifecycle";
import { auditOperation } from "../audit/audit.ts";
import type { SealedSecret } from "../records.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { MUST_BE_NEW } from "../resources/apply.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { Resources } from "../resources/resources.ts";
import { keys } from "../store/keys.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { putJson, readJson } from "../store/values.ts";
import { type ConnectCluster, refusalOf } from "./cluster-connections.ts";
import type { AdoptAnswer, AdoptRequest } from "./clusters.ts";
import { type Kubeconfig, readKubeconfig, writeKubeconfig } from "./kubeconfig.ts";
import type { SecretBox } from "./secret-box.ts";

export interface AdoptParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly resources: Pick<Resources, "apply">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly box: SecretBox;
  readonly connect: ConnectCluster;
}

export async function adoptCluster(parts: AdoptParts, request: AdoptRequest, signal: AbortSignal): Promise<AdoptAnswer> {
  const { store, catalog, clock, random, box, log } = parts;
  const { name, actor } = request;
  const reading = readKubeconfig(request.kubeconfig, clock.now());
  if (!reading.ok) return refuse("InvalidKubeconfig", `the kubeconfig cannot be used: ${reading.problems.join("; ")}`);
  const { kubeconfig } = reading;
  const found = catalog.objects("Cluster").get(name);
  const before = found?.value;
  const differs = before === undefined ? undefined : difference(before, kubeconfig);
  if (differs !== undefined) return differs;

  const contact = await contactCluster(parts, name, kubeconfig, signal);
  if (!contact.ok) return contact;
  const object = clusterObject(name, request.endpoint, kubeconfig, before);
  const warnings = [...contact.missing, ...endpointWarnings(object.spec.endpoint)];

  const key = keys.secret("kubeconfig", name);
  const plain = writeKubeconfig(kubeconfig);
  const isStored = await holds(store, box, key, plain);
  const message = `${object.spec.endpoint}, Kubernetes ${contact.version}, by ${kubeconfig.credential.kind}`;
  const audit = { atMs: clock.now(), actor, action: "AdoptCluster", target: `Cluster/${name}`, outcome: "ok", message } as const;
  const alongside: readonly StoreOperation[] = isStored ? [] : [putJson(key, box.seal(key, plain)), auditOperation(audit, random)];
  const applied = await parts.resources.apply(
    { json: Buffer.from(JSON.stringify(object)), expectedResourceVersion: found?.revision ?? MUST_BE_NEW, actor },
    false,
    alongside,
  );
  if (!applied.ok) return applied;
  log.info({ cluster: name, endpoint: object.spec.endpoint, version: contact.version, actor }, "cluster adopted");
  const outcome = applied.outcome === "unchanged" && !isStored ? "configured" : applied.outcome;
  const started = applied.rollouts.map((rollout) => `starts Rollout/${rollout}: what its nodes are told of the cluster has changed`);
  return { ok: true, outcome, warnings: [...warnings, ...applied.warnings, ...started] };
}

/** The CA is what nodes know a cluster by: another one is another cluster, unless somebody has said otherwise in the object. */
function difference({ metadata, spec }: Cluster, { caCertHashes }: Kubeconfig): Refusal | undefined {
  if (caCertHashes.some((hash) => spec.caCertHashes.includes(hash))) return undefined;
  return refuse(
    "ClusterDiffers",
    `the kubeconfig's cluster has CA ${caCertHashes.join(", ")}, and Cluster/${metadata.name} is the one with ${spec.caCertHashes.join(", ")}; ` +
      "if its CA was renewed, change spec.caCertHashes of the object first (drover apply -f); another cluster takes another name",
  );
}

type Contact = { readonly ok: true; readonly version: string; readonly missing: readonly string[] } | Refusal;

async function contactCluster({ clock, connect }: AdoptParts, name: string, kubeconfig: Kubeconfig, signal: AbortSignal): Promise<Contact> {
  const api = await connect(kubeconfig, clock);
  try {
    // Its version alone says nothing: anybody may ask for it.
    const missing = await api.missingAccess(signal);
    return { ok: true, version: await api.version(signal), missing };
  } catch (error) {
    return refusalOf(name, error);
  } finally {
    await api.close();
  }
}

function clusterObject(name: string, endpoint: string, kubeconfig: Kubeconfig, before: Cluster | undefined): Cluster {
  const { labels, annotations } = before?.metadata ?? {};
  return {
    apiVersion: API_VERSION,
    kind: "Cluster",
    metadata: { name, ...(labels === undefined ? {} : { labels }), ...(annotations === undefined ? {} : { annotations }) },
    spec: {
      endpoint: endpoint === "" ? (before?.spec.endpoint ?? kubeconfig.endpoint) : endpoint,
      // While a CA is rotated the object names both: only who changes the object takes one away, and with it moves nodes.
      caCertHashes: [...(before?.spec.caCertHashes ?? kubeconfig.caCertHashes)],
    },
  };
}

function endpointWarnings(endpoint: string): string[] {
  const isLoopback = /^(localhost|127\.[\d.]+|\[::1\]):/.test(endpoint);
  return isLoopback
    ? [`nodes are told to join at ${endpoint}, which is each machine itself; give the address that they reach: --endpoint HOST:PORT`]
    : [];
}

/** Whether this very kubeconfig is stored and can be opened. */
async function holds(store: Store, box: SecretBox, key: string, plain: Secret): Promise<boolean> {
  const entry = await store.get(key);
  if (entry === undefined) return false;
  try {
    return box.open(key, readJson(entry) as SealedSecret).reveal() === plain.reveal();
  } catch {
    return false;
  }
}
