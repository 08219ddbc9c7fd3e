/** ClusterApi on a real cluster, over HTTPS. Uses only what has been stable since Kubernetes 1.20. The client library is loaded with the first cluster. */
import type { ConfigurationOptions } from "@kubernetes/client-node";
import { type Clock, DeadlineExceeded, withDeadline } from "@drover/lifecycle";
import { ADOPTION_LABEL, type ClusterApi, ClusterApiError, type ClusterApiErrorCode, type Eviction } from "./cluster-api.ts";
import { type Kubeconfig, writeKubeconfig } from "./kubeconfig.ts";
import {
  heldBy,
  MAX_TEXT,
  NAMESPACE,
  projected,
  projectedPod,
  renewTimeMs,
  statusOf,
  textOf,
  TOKEN_NAME,
  TOKEN_TYPE,
  tokenSecret,
} from "./kubernetes-objects.ts";

const CALL_DEADLINE_MS = 10_000;
const PAGE = 250;
const MAX_PAGES = 400;
const EVICTION_VERSION_MS = 10 * 60_000;

const LEASES = "coordination.k8s.io";

interface Page {
  readonly limit: number;
  readonly _continue?: string;
}

interface Need {
  readonly group?: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace: string;
  readonly verbs: readonly string[];
  /** What follows when we may not. */
  readonly so: string;
}

const NEEDS: readonly Need[] = [
  { resource: "secrets", namespace: NAMESPACE, verbs: ["create", "delete", "list"], so: "nodes cannot join" },
  { resource: "nodes", namespace: "", verbs: ["get", "list"], so: "which nodes are Ready is not known" },
  { resource: "nodes", namespace: "", verbs: ["patch"], so: "labels and taints stay as they were at the join, and no node is cordoned" },
  { resource: "nodes", namespace: "", verbs: ["delete"], so: "a node that was reset cannot join again under its name" },
  { resource: "pods", namespace: "", verbs: ["list"], so: "no node is drained" },
  { resource: "pods", subresource: "eviction", namespace: "", verbs: ["create"], so: "no node is drained" },
  { group: LEASES, resource: "leases", namespace: "kube-node-lease", verbs: ["get"], so: "a silent node's Lease is no evidence" },
  { group: LEASES, resource: "leases", namespace: NAMESPACE, verbs: ["get"], so: "a silent node's Lease is no evidence" },
];

/** Contacts nobody yet. */
export async function connectKubernetes(kubeconfig: Kubeconfig, clock: Clock): Promise<ClusterApi> {
  const kubernetes = await import("@kubernetes/client-node");
  const config = new kubernetes.KubeConfig();
  config.loadFromString(writeKubeconfig(kubeconfig).reveal());
  // The library makes a pool of connections for each request: the first one's is kept for all.
  const first = new kubernetes.RequestContext(kubeconfig.server, kubernetes.HttpMethod.GET);
  await config.applySecurityAuthentication(first);
  const dispatcher = first.getDispatcher()!;
  const { Authorization: authorization } = first.getHeaders();
  const configuration = kubernetes.createConfiguration({
    baseServer: new kubernetes.ServerConfiguration(kubeconfig.server, {}),
    authMethods: {
      default: {
        getName: () => "kubeconfig",
        applySecurityAuthentication: (context) => {
          context.setDispatcher(dispatcher);
          context.setHeaderParam("User-Agent", "drover-coordinator");
          if (authorization !== undefined) context.setHeaderParam("Authorization", authorization);
        },
      },
    },
  });
  const core = new kubernetes.CoreV1Api(configuration);
  const coordination = new kubernetes.CoordinationV1Api(configuration);
  const versions = new kubernetes.VersionApi(configuration);
  const authorizing = new kubernetes.AuthorizationV1Api(configuration);

  const options = (signal: AbortSignal, contentType: string | undefined): ConfigurationOptions => ({
    middleware: [
      {
        pre: (context) => {
          context.setSignal(signal);
          if (contentType !== undefined) context.setHeaderParam("Content-Type", contentType);
          return new kubernetes.Observable(Promise.resolve(context));
        },
        post: (context) => new kubernetes.Observable(Promise.resolve(context)),
      },
    ],
    middlewareMergeStrategy: "append",
  });

  /** One request. @param isSecret what the server says of it may quote what is secret */
  async function call<T>(
    what: string,
    signal: AbortSignal,
    work: (options: ConfigurationOptions) => Promise<T>,
    { contentType, isSecret = false }: { readonly contentType?: string; readonly isSecret?: boolean } = {},
  ): Promise<T> {
    try {
      return await withDeadline(clock, what, CALL_DEADLINE_MS, signal, (ended) => work(options(ended, contentType)));
    } catch (error) {
      if (error instanceof kubernetes.ApiException) throw answered(what, error.code, isSecret ? undefined : error.body);
      throw unanswered(what, kubeconfig.endpoint, error);
    }
  }

  /** All pages. */
  async function listed<T>(
    what: string,
    signal: AbortSignal,
    page: (request: Page, options: ConfigurationOptions) => Promise<{ readonly found: readonly T[]; readonly next: string | undefined }>,
  ): Promise<readonly T[]> {
    const found: T[] = [];
    let next: string | undefined;
    for (let count = 0; count < MAX_PAGES; count += 1) {
      const request = { limit: PAGE, ...(next === undefined ? {} : { _continue: next }) };
      const answer = await call(what, signal, (o) => page(request, o));
      found.push(...answer.found);
      next = answer.next;
      if (next === undefined || next === "") return found;
    }
    throw new ClusterApiError("Failed", `${what} does not end after ${MAX_PAGES} pages`);
  }

  let eviction: { readonly apiVersion: string; readonly askedAtMs: number } | undefined;

  /** policy/v1beta1 before Kubernetes 1.22, policy/v1 from 1.25 on, as discovery says; asked again now and then, for clusters are upgraded. */
  async function evictionVersion(signal: AbortSignal): Promise<string> {
    const nowMs = clock.monotonicMs();
    if (eviction !== undefined && nowMs - eviction.askedAtMs < EVICTION_VERSION_MS) return eviction.apiVersion;
    const { resources } = await call("asking how pods are evicted", signal, (o) => core.getAPIResources({}, o));
    const found = resources.find(({ name }) => name === "pods/eviction");
    if (found === undefined) throw new ClusterApiError("Failed", "the cluster's API evicts no pods: it has no pods/eviction");
    eviction = { apiVersion: `${found.group ?? "policy"}/${found.version ?? "v1beta1"}`, askedAtMs: nowMs };
    return eviction.apiVersion;
  }

  return {
    version: (signal) => call("asking for its version", signal, async (o) => textOf((await versions.getCode({}, o)).gitVersion)),

    async missingAccess(signal) {
      const asked = NEEDS.flatMap(({ verbs, ...need }) => verbs.map((verb) => ({ ...need, verb })));
      const answers = await Promise.all(
        asked.map(async ({ group = "", resource, subresource = "", namespace, verb, so }) => {
          const body = { spec: { resourceAttributes: { group, resource, subresource, namespace, verb, version: "v1" } } };
          const { status } = await call("asking what we may", signal, (o) => authorizing.createSelfSubjectAccessReview({ body }, o));
          const where = namespace === "" ? "" : ` in ${namespace}`;
          const what = subresource === "" ? resource : `${resource}/${subresource}`;
          return status?.allowed === true ? [] : [`the kubeconfig's user may not ${verb} ${what}${where}: ${so}`];
        }),
      );
      return answers.flat();
    },

    async createBootstrapToken(token, signal) {
      const request = { namespace: NAMESPACE, body: tokenSecret(token) };
      await call("making a bootstrap token", signal, (o) => core.createNamespacedSecret(request, o), { isSecret: true });
    },

    async deleteBootstrapToken(tokenId, signal) {
      const request = { namespace: NAMESPACE, name: `${TOKEN_NAME}${tokenId}` };
      await goneIsFine(call("deleting a bootstrap token", signal, (o) => core.deleteNamespacedSecret(request, o)));
    },

    async bootstrapTokens(adoption, signal) {
      const request = {
        namespace: NAMESPACE,
        labelSelector: `${ADOPTION_LABEL}=${adoption}`,
        fieldSelector: `type=${TOKEN_TYPE}`,
        limit: PAGE,
      };
      const list = async (o: ConfigurationOptions): Promise<string[]> => {
        const { items } = await core.listNamespacedSecret(request, o);
        return items.map(({ metadata }) => metadata?.name ?? "");
      };
      const names = await call("listing bootstrap tokens", signal, list, { isSecret: true });
      return names.filter((name) => name.startsWith(TOKEN_NAME)).map((name) => name.slice(TOKEN_NAME.length));
    },

    nodes: (signal) =>
      listed("listing nodes", signal, async (page, o) => {
        const { items, metadata } = await core.listNode(page, o);
        return { found: items.map(projected), next: metadata?._continue };
      }),

    async node(name, signal) {
      try {
        return await call(`getting node ${name}`, signal, async (o) => projected(await core.readNode({ name }, o)));
      } catch (error) {
        if (error instanceof ClusterApiError && error.code === "NotFound") return undefined;
        throw error;
      }
    },

    async lease(lease, signal) {
      try {
        const { spec } = await call(`getting lease ${lease.namespace}/${lease.name}`, signal, (o) =>
          coordination.readNamespacedLease(lease, o),
        );
        return { renewTimeMs: renewTimeMs(spec?.renewTime) };
      } catch (error) {
        if (error instanceof ClusterApiError && error.code === "NotFound") return undefined;
        throw error;
      }
    },

    async patchNode(name, { resourceVersion, labels, annotations, taints, isUnschedulable }, signal) {
      const spec = {
        ...(taints === undefined ? {} : { taints }),
        ...(isUnschedulable === undefined ? {} : { unschedulable: isUnschedulable ? true : null }),
      };
      const body = { metadata: { resourceVersion, labels, annotations }, spec };
      const contentType = kubernetes.PatchStrategy.MergePatch;
      await call(`changing node ${name}`, signal, (o) => core.patchNode({ name, body }, o), { contentType });
    },

    podsOf: (nodeName, signal) =>
      listed(`listing the pods of node ${nodeName}`, signal, async (page, o) => {
        const { items, metadata } = await core.listPodForAllNamespaces({ ...page, fieldSelector: `spec.nodeName=${nodeName}` }, o);
        return { found: items.map(projectedPod), next: metadata?._continue };
      }),

    async evict({ namespace, name, uid }, signal) {
      const what = `evicting pod ${namespace}/${name}`;
      const apiVersion = await evictionVersion(signal);
      const body = { apiVersion, kind: "Eviction", metadata: { namespace, name }, deleteOptions: { preconditions: { uid } } };
      const ask = async (o: ConfigurationOptions): Promise<Eviction> => {
        try {
          await core.createNamespacedPodEviction({ namespace, name, body }, o);
          return { outcome: "evicted" };
        } catch (error) {
          if (error instanceof kubernetes.ApiException && error.code === 429) return heldBy(error.body);
          throw error;
        }
      };
      try {
        return await call(what, signal, ask);
      } catch (error) {
        if (error instanceof ClusterApiError && error.code === "NotFound") return { outcome: "gone" };
        throw error;
      }
    },

    async deleteNode({ name, uid }, signal) {
      const request = { name, body: { preconditions: { uid } } };
      await goneIsFine(call(`deleting node ${name}`, signal, (o) => core.deleteNode(request, o)));
    },

    close: () => dispatcher.destroy(),
  };
}

const CODES: Readonly<Record<number, ClusterApiErrorCode>> = { 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict" };

/** @param body as the server sent it; undefined: not to be shown */
function answered(what: string, status: number, body: unknown): ClusterApiError {
  return new ClusterApiError(CODES[status] ?? "Failed", `${what}: HTTP ${status}${detail(body)}`);
}

function detail(body: unknown): string {
  const message = (statusOf(body) as { message?: unknown } | null | undefined)?.message;
  return typeof message === "string" ? `, ${message.slice(0, MAX_TEXT)}` : "";
}

const UNTRUSTED: ReadonlySet<string> = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
]);

function unanswered(what: string, endpoint: string, error: unknown): ClusterApiError {
  if (error instanceof DeadlineExceeded)
    return new ClusterApiError("Unreachable", `${what}: ${endpoint} gave no answer in ${CALL_DEADLINE_MS / 1000} s`);
  const { code } = ((error as { cause?: unknown } | undefined)?.cause ?? error ?? {}) as { code?: unknown };
  if (typeof code !== "string")
    return new ClusterApiError("Unreachable", `${what}: ${endpoint} cannot be reached, or its answer cannot be read`);
  const why = UNTRUSTED.has(code) ? `shows a certificate that is not by the CA of the kubeconfig (${code})` : `cannot be reached (${code})`;
  return new ClusterApiError("Unreachable", `${what}: ${endpoint} ${why}`);
}

async function goneIsFine(deletion: Promise<unknown>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!(error instanceof ClusterApiError && error.code === "NotFound")) throw error;
  }
}
