/**
 * What every story of joining needs: a site, a cluster made by hand with kubeadm init in one full machine and adopted, a registry with images,
 * kubeadm behind an HTTP server, and a profile with a step of every kind that this kernel lets a machine do.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type HandMadeCluster, makeCluster } from "../../testbed/full/cluster.ts";
import { eventually } from "../../testbed/program.ts";
import { requireKubernetesBinaries } from "../../testbed/roots/kubernetes-binaries.ts";
import { nodeProgram, Site, type SiteOptions } from "../../testbed/site.ts";

export const apiVersion = "drover.dev/v1alpha1";
export const SET = "web";
export const CLUSTER = "lab";
const FILE_PORT = 8081;

export interface KubernetesNode {
  readonly metadata: { readonly name: string; readonly uid: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: {
    readonly unschedulable?: boolean;
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[];
  };
  readonly status: {
    readonly capacity: Readonly<Record<string, string>>;
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly message: string }[];
  };
}

export interface ProfileChoice {
  readonly taintValue?: string;
  readonly nodeLabels?: Readonly<Record<string, string>>;
  readonly maxPods?: number;
}

export class JoinStage implements AsyncDisposable {
  readonly site: Site;
  readonly cluster: HandMadeCluster;
  readonly #images: Awaited<ReturnType<Site["pushImages"]>>;
  readonly #kubeadm: { readonly source: string; readonly digest: string; readonly size: number };

  private constructor(
    site: Site,
    cluster: HandMadeCluster,
    images: Awaited<ReturnType<Site["pushImages"]>>,
    kubeadm: { readonly source: string; readonly digest: string; readonly size: number },
  ) {
    this.site = site;
    this.cluster = cluster;
    this.#images = images;
    this.#kubeadm = kubeadm;
  }

  /** With the cluster up; adopt() is the story's. @throws when the Kubernetes binaries are not there */
  static async make(options: SiteOptions, say: (line: string) => void): Promise<JoinStage> {
    const { directory } = await requireKubernetesBinaries();
    const site = await Site.make(options);
    try {
      await site.startRegistry();
      const images = await site.pushImages({ "registry.example/web/app:7": 6_000_000, "registry.example/web/proxy:2.1": 3_000_000 });
      const kubeadm = await serveFile(site, join(directory, "v1.20.2/kubeadm"));
      say("the first machine boots, and kubeadm init makes a cluster in it by hand");
      const cluster = await makeCluster(await site.bed.addFullMachine("cp-1"));
      return new JoinStage(site, cluster, images, kubeadm);
    } catch (error) {
      await site[Symbol.asyncDispose]();
      throw error;
    }
  }

  get images(): readonly { readonly name: string; readonly digest: string }[] {
    return this.#images;
  }

  /** `drover cluster adopt` with the cluster's admin kubeconfig. */
  async adopt(): Promise<void> {
    const file = join(this.site.bed.directory, "lab.kubeconfig");
    await writeFile(file, this.cluster.kubeconfig, { mode: 0o600 });
    await this.site.mustDrover(["cluster", "adopt", CLUSTER, "--kubeconfig", file]);
  }

  /** The manifest of everything that joins: profile, image lock, set. */
  async manifest(name: string, choice: ProfileChoice = {}, strategy: object = { maxUnavailable: 2 }): Promise<string> {
    return this.site.manifest(
      name,
      { apiVersion, kind: "ImageLock", metadata: { name: SET }, spec: { images: this.#images } },
      { apiVersion, kind: "NodeProfile", metadata: { name: SET }, spec: this.#profile(choice) },
      {
        apiVersion,
        kind: "NodeSet",
        metadata: { name: SET },
        spec: { selector: { matchLabels: { role: "web" } }, profile: SET, cluster: CLUSTER, strategy },
      },
    );
  }

  /** As the cluster's own API has it; undefined: there is no such Node. */
  async nodeOf(machine: string): Promise<KubernetesNode | undefined> {
    const listed = JSON.parse(await this.cluster.kubectl(["get", "nodes", "-o", "json"])) as { items: KubernetesNode[] };
    return listed.items.find(({ metadata }) => metadata.name === machine);
  }

  async readyNode(machine: string, timeoutMs: number): Promise<KubernetesNode> {
    return eventually(`${machine} is Ready in the cluster's own API`, timeoutMs, async () => {
      const node = await this.nodeOf(machine);
      return node?.status.conditions.some(({ type, status }) => type === "Ready" && status === "True") === true && node;
    });
  }

  /** The bootstrap tokens that the cluster has now; those without a node are not the coordinator's. */
  async bootstrapTokens(): Promise<readonly { readonly id: string; readonly secret: string; readonly nodeId: string | undefined }[]> {
    const fields = ["--namespace", "kube-system", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "json"];
    const listed = JSON.parse(await this.cluster.kubectl(["get", "secrets", ...fields])) as {
      items: { metadata: { labels?: Record<string, string> }; data: Record<string, string> }[];
    };
    const text = (base64: string | undefined): string => Buffer.from(base64 ?? "", "base64").toString();
    return listed.items.map(({ metadata, data }) => ({
      id: text(data["token-id"]),
      secret: text(data["token-secret"]),
      nodeId: metadata.labels?.["drover.dev/node"],
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.site[Symbol.asyncDispose]();
  }

  #profile({ taintValue = "web", nodeLabels = { tier: "front" }, maxPods = 42 }: ProfileChoice): object {
    const { source, digest, size } = this.#kubeadm;
    return {
      binaries: [{ name: "kubeadm", source, digest, size, files: [{ target: "/usr/local/bin/kubeadm" }] }],
      kernelModules: { names: ["overlay"] },
      sysctl: { values: { "net.ipv4.ip_forward": "1", "net.core.somaxconn": "4096" } },
      swap: { mode: "Leave" },
      containerd: {
        maxConcurrentDownloads: 4,
        restrictOomScoreAdj: true,
        registries: [{ host: "registry.example", mirrors: [{ url: `http://${this.site.registry}` }] }],
      },
      images: { lock: SET },
      kubelet: { configuration: { maxPods } },
      kubeadm: {
        nodeLabels,
        taints: [{ key: "dedicated", value: taintValue, effect: "NoSchedule" }],
      },
    };
  }
}

/** A file that machines fetch by URL. */
async function serveFile(site: Site, path: string): Promise<{ source: string; digest: string; size: number }> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  const script = `require("node:http").createServer((q, r) => { require("node:fs").createReadStream(${JSON.stringify(path)}).pipe(r); })
    .listen(${FILE_PORT}, ${JSON.stringify(site.bed.address)})`;
  await site.bed.spawn(nodeProgram, ["-e", script], join(site.bed.directory, "files.log"));
  const source = `http://${site.bed.address}:${FILE_PORT}/kubeadm`;
  await eventually("files are served", 10_000, async () => {
    const ask = `fetch("${source}").then((r) => r.body.cancel()).then(() => process.exit(0), () => process.exit(1))`;
    return (await site.bed.run(nodeProgram, ["-e", ask])).exitCode === 0;
  });
  return { source, digest: `sha256:${hash.digest("hex")}`, size: (await stat(path)).size };
}
