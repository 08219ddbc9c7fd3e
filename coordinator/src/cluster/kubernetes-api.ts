/** ClusterApi on a real cluster, over HTTPS. Uses only what has been stable since Kubernetes 1.20. The client library is loaded with the first cluster. */
import type { ConfigurationOptions, V1Node } from "@kubernetes/client-node";
import { type Clock, DeadlineExceeded, withDeadline } from "@drover/lifecycle";
import {
  ADOPTION_LABEL,
  type ClusterApi,
  ClusterApiError,
  type ClusterApiErrorCode,
  type ClusterNode,
  NODE_MARK,
  type NewBootstrapToken,
} from "./cluster-api.ts";
import { type Kubeconfig, writeKubeconfig } from "./kubeconfig.ts";

const CALL_DEADLINE_MS = 10_000;
const PAGE = 250;
const MAX_PAGES = 400;
const NAMESPACE = "kube-system";
const TOKEN_TYPE = "bootstrap.kubernetes.io/token";
const TOKEN_NAME = "bootstrap-token-";
/** The group that kubeadm lets ask for a kubelet's certificate. */
const TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token";
const ANNOTATIONS = "drover.dev/";
const MAX_TEXT = 300;

const LEASES = "coordination.k8s.io";

interface Need {
  readonly group?: string;
  readonly resource: string;
  readonly namespace: string;
  readonly verbs: readonly string[];
  /** What follows when we may not. */
  readonly so: string;
}

const NEEDS: readonly Need[] = [
  { resource: "secrets", namespace: NAMESPACE, verbs: ["create", "delete", "list"], so: "nodes cannot join" },
  { resource: "nodes", namespace: "", verbs: ["get", "list"], so: "which nodes are Ready is not known" },
  { resource: "nodes", namespace: "", verbs: ["patch"], so: "labels and taints stay as they were at the join" },
  { resource: "nodes", namespace: "", verbs: ["delete"], so: "a node that was reset cannot join again under its name" },
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

  return {
    version: (signal) => call("asking for its version", signal, async (o) => textOf((await versions.getCode({}, o)).gitVersion)),

    async missingAccess(signal) {
      const asked = NEEDS.flatMap(({ verbs, ...need }) => verbs.map((verb) => ({ ...need, verb })));
      const answers = await Promise.all(
        asked.map(async ({ group = "", resource, namespace, verb, so }) => {
          const body = { spec: { resourceAttributes: { group, resource, namespace, verb, version: "v1" } } };
          const { status } = await call("asking what we may", signal, (o) => authorizing.createSelfSubjectAccessReview({ body }, o));
          const where = namespace === "" ? "" : ` in ${namespace}`;
          return status?.allowed === true ? [] : [`the kubeconfig's user may not ${verb} ${resource}${where}: ${so}`];
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

    async nodes(signal) {
      const found: ClusterNode[] = [];
      let next: string | undefined;
      for (let page = 0; page < MAX_PAGES; page += 1) {
        const request = { limit: PAGE, ...(next === undefined ? {} : { _continue: next }) };
        const list = async (o: ConfigurationOptions): Promise<{ readonly nodes: ClusterNode[]; readonly next: string | undefined }> => {
          const { items, metadata } = await core.listNode(request, o);
          return { nodes: items.map(projected), next: metadata?._continue };
        };
        const answer = await call("listing nodes", signal, list);
        found.push(...answer.nodes);
        next = answer.next;
        if (next === undefined || next === "") return found;
      }
      throw new ClusterApiError("Failed", `listing nodes does not end after ${MAX_PAGES} pages`);
    },

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

    async patchNode(name, { resourceVersion, labels, annotations, taints }, signal) {
      const body = { metadata: { resourceVersion, labels, annotations }, ...(taints === undefined ? {} : { spec: { taints } }) };
      const contentType = kubernetes.PatchStrategy.MergePatch;
      await call(`changing node ${name}`, signal, (o) => core.patchNode({ name, body }, o), { contentType });
    },

    async deleteNode({ name, uid }, signal) {
      const request = { name, body: { preconditions: { uid } } };
      await goneIsFine(call(`deleting node ${name}`, signal, (o) => core.deleteNode(request, o)));
    },

    close: () => dispatcher.destroy(),
  };
}

function tokenSecret({ tokenId, secret, expiresAtMs, description, nodeId, adoption }: NewBootstrapToken) {
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: TOKEN_TYPE,
    metadata: { name: `${TOKEN_NAME}${tokenId}`, namespace: NAMESPACE, labels: { [NODE_MARK]: nodeId, [ADOPTION_LABEL]: adoption } },
    stringData: {
      "token-id": tokenId,
      "token-secret": secret.reveal(),
      // Kubernetes reads RFC 3339 without fractions here.
      expiration: new Date(expiresAtMs).toISOString().replace(/\.\d+Z$/, "Z"),
      "usage-bootstrap-authentication": "true",
      "usage-bootstrap-signing": "true",
      "auth-extra-groups": TOKEN_GROUP,
      description,
    },
  };
}

/** @throws TypeError when the server sent something else */
function textOf(value: unknown): string {
  return wholeTextOf(value).slice(0, MAX_TEXT);
}

/** @throws TypeError when the server sent something else */
function wholeTextOf(value: unknown): string {
  if (typeof value !== "string" || value === "") throw new TypeError("no text");
  return value;
}

function projected({ metadata, spec, status }: V1Node): ClusterNode {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  const annotations = Object.entries(metadata?.annotations ?? {}).filter(([key]) => key.startsWith(ANNOTATIONS));
  return {
    name: textOf(metadata?.name),
    uid: metadata?.uid ?? "",
    resourceVersion: metadata?.resourceVersion ?? "",
    createdAtMs: metadata?.creationTimestamp?.getTime() ?? 0,
    ready: ready?.status === "True" || ready?.status === "False" ? ready.status : "Unknown",
    reason: ready?.reason ?? "",
    message: (ready?.message ?? "").slice(0, MAX_TEXT),
    kubeletVersion: status?.nodeInfo?.kubeletVersion ?? "",
    labels: metadata?.labels ?? {},
    annotations: Object.fromEntries(annotations),
    taints: (spec?.taints ?? []).map(({ key, value, effect, timeAdded }) => ({
      key: wholeTextOf(key),
      value: value ?? "",
      effect: wholeTextOf(effect),
      ...(timeAdded === undefined ? {} : { timeAdded: rfc3339(timeAdded) }),
    })),
  };
}

/** The library calls it a Date with microseconds, and hands over the text that the server sent. */
function renewTimeMs(renewTime: unknown): number | undefined {
  const atMs = renewTime instanceof Date ? renewTime.getTime() : typeof renewTime === "string" ? Date.parse(renewTime) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : atMs;
}

function rfc3339(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}

const CODES: Readonly<Record<number, ClusterApiErrorCode>> = { 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict" };

/** @param body as the server sent it; undefined: not to be shown */
function answered(what: string, status: number, body: unknown): ClusterApiError {
  return new ClusterApiError(CODES[status] ?? "Failed", `${what}: HTTP ${status}${detail(body)}`);
}

function detail(body: unknown): string {
  let status = body;
  try {
    if (typeof body === "string") status = JSON.parse(body);
  } catch {
    return "";
  }
  const message = (status as { message?: unknown } | null | undefined)?.message;
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
