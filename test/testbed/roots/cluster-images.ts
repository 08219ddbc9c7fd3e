/** Images of a real control plane, made of the binaries once: nothing is pulled from outside. */
import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuiltImage, makeProgramImage, writeDockerArchive } from "../../support/images/index.ts";
import { cached, digestOf } from "./cache.ts";
import { requireKubernetesBinaries } from "./kubernetes-binaries.ts";

export type KubernetesVersion = "v1.20.2" | "v1.20.4";

export const PAUSE_IMAGE = "k8s.gcr.io/pause:3.2";
const ETCD_IMAGE = "k8s.gcr.io/etcd:3.4.13-0";
const CONTROL_PLANE = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] as const;
/** Debian's etcd and what it is linked with. */
const ETCD_FILES = { "usr/local/bin/etcd": "/usr/bin/etcd", "lib64/ld-linux-x86-64.so.2": "", "lib/x86_64-linux-gnu/libc.so.6": "" };

/** Archives for `ctr --namespace k8s.io images import`: a control plane with etcd and pause. */
export async function clusterImageArchives(version: KubernetesVersion = "v1.20.2"): Promise<readonly string[]> {
  const { directory: binaries } = await requireKubernetesBinaries();
  const directory = await cached(`images-${version}-${await recipe(binaries)}`, async (half) => {
    for (const program of CONTROL_PLANE) {
      const content = await readFile(join(binaries, version, program));
      const image = makeProgramImage([{ path: `usr/local/bin/${program}`, content, mode: 0o755 }]);
      await writeDockerArchive(join(half, `${program}.tar`), image, `k8s.gcr.io/${program}:${version}`);
    }
    const files = Object.entries(ETCD_FILES).map(async ([path, from]) => {
      return { path, content: await readFile(from === "" ? `/${path}` : from), mode: 0o755 };
    });
    await writeDockerArchive(join(half, "etcd.tar"), makeProgramImage(await Promise.all(files)), ETCD_IMAGE);
    await writeDockerArchive(join(half, "pause.tar"), await pauseImage(), PAUSE_IMAGE);
  });
  return [...CONTROL_PLANE, "etcd", "pause"].map((name) => join(directory, `${name}.tar`));
}

/** What every pod of every worker needs; to be pushed into a registry as well. */
export async function pauseImage(): Promise<BuiltImage> {
  const { directory } = await requireKubernetesBinaries();
  const content = await readFile(join(directory, "v1.20.2/pause"));
  return makeProgramImage([{ path: "pause", content, mode: 0o755 }], ["/pause"]);
}

async function recipe(binaries: string): Promise<string> {
  const { size, mtimeMs } = await stat("/usr/bin/etcd");
  return digestOf([basename(binaries), `${size} ${mtimeMs}`, await readFile(fileURLToPath(import.meta.url))]);
}
