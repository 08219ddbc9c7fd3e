/** Where the Kubernetes binaries of the tests are: an archive beside the checkout, unpacked once into the cache. */
import { stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { cached, digestOf, isThere } from "./cache.ts";

const top = fileURLToPath(new URL("../../..", import.meta.url));
const archiveName = "kubernetes-test-binaries.tar.zst";

export interface KubernetesBinaries {
  /** Holds the folders v1.20.2 and v1.20.4. */
  readonly directory: string;
}

/** One sentence for whoever skips something because of it. */
export const noKubernetesBinaries = `no Kubernetes binaries: set DROVER_SHARED to the folder that holds k8s/${archiveName}`;

let found: Promise<KubernetesBinaries | undefined> | undefined;

/** @returns undefined when there is no archive: say what is skipped then, with `noKubernetesBinaries` */
export function findKubernetesBinaries(): Promise<KubernetesBinaries | undefined> {
  found ??= find();
  return found;
}

/** @throws when they are not there, with what to do */
export async function requireKubernetesBinaries(): Promise<KubernetesBinaries> {
  const binaries = await findKubernetesBinaries();
  if (binaries === undefined) throw new Error(`${noKubernetesBinaries}; looked at ${(await archiveCandidates()).join(", ")}`);
  return binaries;
}

/** Whether the archive is there; unpacks nothing. */
export async function hasKubernetesBinaries(): Promise<boolean> {
  return (await findArchive()) !== undefined;
}

async function find(): Promise<KubernetesBinaries | undefined> {
  const archive = await findArchive();
  if (archive === undefined) return undefined;
  const { size, mtimeMs } = await stat(archive);
  const directory = await cached(`kubernetes-${digestOf([archiveName, String(size), String(Math.floor(mtimeMs))])}`, async (half) => {
    await execa("sh", ["-c", 'zstd -d --long=31 < "$0" | tar x --no-same-owner -C "$1"', archive, half]);
    for (const program of ["v1.20.2/kubeadm", "v1.20.4/kubeadm"]) {
      if (!(await isThere(join(half, program)))) throw new Error(`${archive} holds no ${program}`);
    }
  });
  return { directory };
}

async function findArchive(): Promise<string | undefined> {
  for (const candidate of await archiveCandidates()) {
    if (await isThere(candidate)) return candidate;
  }
  return undefined;
}

async function archiveCandidates(): Promise<readonly string[]> {
  const given = process.env["DROVER_SHARED"];
  if (given !== undefined && given !== "") return [join(given, "k8s", archiveName)];
  const { stdout: origin } = await execa("git", ["-C", top, "config", "remote.origin.url"], { reject: false });
  const local = origin.trim().replace(/^file:\/\//, "");
  return [join(top, "../shared/k8s", archiveName), ...(isAbsolute(local) ? [join(local, "../shared/k8s", archiveName)] : [])];
}
