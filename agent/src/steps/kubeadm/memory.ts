/** What the kubeadm step remembers across runs and crashes: the membership it made, what was there before, the kubeadm under way. */

export interface KubeadmMemory {
  /** The cluster that we joined; a node that was joined by hand has none. */
  readonly member?: Member;
  /** A join of ours that has made no node yet, until it is taken back: what is half joined here is ours, and only then. */
  readonly begun?: Member;
  /** As the machine was right before the join, until a reset has ended; undefined: somebody else joined it. */
  readonly before?: BeforeJoin;
  readonly job?: Job;
  /** Why the last join failed: what it left is taken away first, then this is told. */
  readonly failure?: JobFailure;
}

export interface Member {
  readonly cluster: string;
  readonly endpoint: string;
  readonly caCertHashes: readonly string[];
  readonly rejoin: number;
  /** Empty: the machine's hostname. */
  readonly nodeName: string;
}

export interface BeforeJoin {
  /** Names in /etc/cni/net.d: whatever else is there later came with the cluster. */
  readonly cniFiles: readonly string[];
  /** Files of a cluster: a node has them, other machines may. */
  readonly clusterFiles: readonly string[];
  /** Network interfaces. */
  readonly links: readonly string[];
}

/** One run of kubeadm in a unit of its own: durable before the unit is started, gone when its outcome is settled. */
export interface Job {
  readonly kind: "join" | "reset";
  readonly unit: string;
  readonly bootId: string;
  /** Of a join. */
  readonly joining?: Member;
  /** Of a reset: the key of the node that is taken away; undefined: there was no whole one. */
  readonly nodeKey?: string;
  /** Durable before the unit is forgotten. lost: another boot, or it was never started. */
  readonly ended?: "succeeded" | "failed" | "lost";
}

export interface JobFailure {
  readonly reason: string;
  readonly message: string;
  readonly isRetryable: boolean;
  /** The key of the node that the failed join made all the same. */
  readonly nodeKey?: string;
}

/** @param remembered what the step's memory holds: written by rememberedOf, or undefined */
export function readMemory(remembered: unknown): KubeadmMemory {
  return typeof remembered === "object" && remembered !== null ? remembered : {};
}

/** @returns undefined when there is nothing to remember */
export function rememberedOf({ member, begun, before, job, failure }: KubeadmMemory): KubeadmMemory | undefined {
  if (member === undefined && begun === undefined && job === undefined && failure === undefined) return undefined;
  return {
    ...(member === undefined ? {} : { member }),
    ...(begun === undefined ? {} : { begun }),
    ...(before === undefined ? {} : { before }),
    ...(job === undefined ? {} : { job }),
    ...(failure === undefined ? {} : { failure }),
  };
}
