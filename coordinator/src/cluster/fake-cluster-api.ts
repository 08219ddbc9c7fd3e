/** A cluster in memory for tests: keeps what it is told, answers when it is reachable, and calls a hook before and after each change. */
import {
  type ClusterApi,
  ClusterApiError,
  type ClusterLease,
  type ClusterNode,
  type ClusterPod,
  type Eviction,
  type NewBootstrapToken,
  type NodePatch,
} from "./cluster-api.ts";

export type Moment = "before" | "after";

export class FakeClusterApi implements ClusterApi {
  readonly tokens = new Map<string, Pick<NewBootstrapToken, "nodeId" | "adoption" | "expiresAtMs">>();
  readonly stored = new Map<string, ClusterNode>();
  /** By "namespace/name". */
  readonly leases = new Map<string, ClusterLease>();
  readonly patches: NodePatch[] = [];
  /** By "namespace/name". */
  readonly pods = new Map<string, ClusterPod & { readonly nodeName: string }>();
  /** By "namespace/name" of a pod: what does not let it go. */
  readonly held = new Map<string, Eviction & { readonly outcome: "held" }>();
  /** What was asked to go, in order, as "namespace/name"; it terminates, and stays until a test deletes it. */
  readonly evictions: string[] = [];
  /** What it answers to everything instead. */
  failure: ClusterApiError | undefined;
  missing: readonly string[] = [];
  listCount = 0;
  /** May throw: the call has not been made, or was made and its answer is lost. */
  hook: (what: string, moment: Moment) => void = () => undefined;
  #version = 0;

  putNode(name: string, given: Partial<ClusterNode> = {}): void {
    this.#version += 1;
    const node = {
      uid: `uid-${name}-${this.#version}`,
      createdAtMs: 0,
      ready: "True" as const,
      reason: "KubeletReady",
      message: "",
      kubeletVersion: "v1.31.2",
      labels: {},
      isUnschedulable: false,
      annotations: {},
      taints: [],
    };
    this.stored.set(name, { ...node, ...given, name, resourceVersion: String(this.#version) });
  }

  /** @param pod "namespace/name" */
  putPod(pod: string, nodeName: string, given: Partial<ClusterPod> = {}): void {
    const [namespace = "", name = ""] = pod.split("/");
    const made = { uid: `uid-${pod}`, phase: "Running", isTerminating: false, isMirror: false, controllerKind: "ReplicaSet", ...given };
    this.pods.set(pod, { ...made, namespace, name, nodeName });
  }

  version(): Promise<string> {
    return this.#answer("version", () => "v1.31.2");
  }

  missingAccess(): Promise<readonly string[]> {
    return this.#answer("missingAccess", () => this.missing);
  }

  createBootstrapToken({ tokenId, nodeId, adoption, expiresAtMs }: NewBootstrapToken): Promise<void> {
    return this.#answer("createBootstrapToken", () => {
      if (this.tokens.has(tokenId)) throw new ClusterApiError("Conflict", "it is there");
      this.tokens.set(tokenId, { nodeId, adoption, expiresAtMs });
    });
  }

  deleteBootstrapToken(tokenId: string): Promise<void> {
    return this.#answer("deleteBootstrapToken", () => void this.tokens.delete(tokenId));
  }

  bootstrapTokens(adoption: string): Promise<readonly string[]> {
    return this.#answer("bootstrapTokens", () => [...this.tokens].filter(([, token]) => token.adoption === adoption).map(([id]) => id));
  }

  nodes(): Promise<readonly ClusterNode[]> {
    this.listCount += 1;
    return this.#answer("nodes", () => [...this.stored.values()]);
  }

  node(name: string): Promise<ClusterNode | undefined> {
    return this.#answer("node", () => this.stored.get(name));
  }

  lease({ namespace, name }: { readonly namespace: string; readonly name: string }): Promise<ClusterLease | undefined> {
    return this.#answer("lease", () => this.leases.get(`${namespace}/${name}`));
  }

  patchNode(name: string, patch: NodePatch): Promise<void> {
    return this.#answer("patchNode", () => {
      const node = this.stored.get(name);
      if (node === undefined) throw new ClusterApiError("NotFound", `no ${name}`);
      if (node.resourceVersion !== patch.resourceVersion) throw new ClusterApiError("Conflict", "it changed");
      this.patches.push(patch);
      const { uid } = node;
      const { taints = node.taints, isUnschedulable = node.isUnschedulable } = patch;
      this.putNode(name, {
        ...node,
        uid,
        labels: merged(node.labels, patch.labels),
        annotations: merged(node.annotations, patch.annotations),
        taints,
        isUnschedulable,
      });
    });
  }

  podsOf(nodeName: string): Promise<readonly ClusterPod[]> {
    return this.#answer("podsOf", () => [...this.pods.values()].filter((pod) => pod.nodeName === nodeName));
  }

  evict({ namespace, name, uid }: Pick<ClusterPod, "namespace" | "name" | "uid">): Promise<Eviction> {
    return this.#answer("evict", () => {
      const key = `${namespace}/${name}`;
      const pod = this.pods.get(key);
      if (pod === undefined) return { outcome: "gone" };
      if (pod.uid !== uid) throw new ClusterApiError("Conflict", "it is another pod");
      const held = this.held.get(key);
      if (held !== undefined) return held;
      this.evictions.push(key);
      this.pods.set(key, { ...pod, isTerminating: true });
      return { outcome: "evicted" };
    });
  }

  deleteNode({ name, uid }: Pick<ClusterNode, "name" | "uid">): Promise<void> {
    return this.#answer("deleteNode", () => {
      if (this.stored.get(name)?.uid === uid) this.stored.delete(name);
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #answer<T>(what: string, work: () => T): Promise<T> {
    await Promise.resolve();
    this.hook(what, "before");
    if (this.failure !== undefined) throw this.failure;
    const answer = work();
    this.hook(what, "after");
    return answer;
  }
}

function merged(values: Readonly<Record<string, string>>, changes: Readonly<Record<string, string | null>>): Record<string, string> {
  const result = { ...values };
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete result[key];
    else result[key] = value;
  }
  return result;
}
