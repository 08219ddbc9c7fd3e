/** The Debian 12 root that full machines and virtual machines start from: built once, then only read. */
import { readFile, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { bedEnvironment } from "../environment.ts";
import { cacheDirectory, cached, digestOf, isThere } from "./cache.ts";
import { requireKubernetesBinaries } from "./kubernetes-binaries.ts";

const script = fileURLToPath(new URL("./build-root.sh", import.meta.url));
const filesDirectory = fileURLToPath(new URL("./files", import.meta.url));
/** debootstrap and unpacking take about a minute on four cores. */
const BUILD_TIMEOUT_MS = 15 * 60_000;

/** @returns the root's directory; nobody writes into it: machines lay an overlay over it */
export async function rootFileSystem(): Promise<string> {
  const { directory: binaries } = await requireKubernetesBinaries();
  return cached(await cacheName(binaries), async (half) => {
    const built = await execa(
      "unshare",
      [
        ..."--mount --pid --fork --kill-child=KILL --mount-proc --propagation private --".split(" "),
        "sh",
        script,
        half,
        join(binaries, "v1.20.2"),
      ],
      { reject: false, all: true, timeout: BUILD_TIMEOUT_MS, env: bedEnvironment, extendEnv: false },
    );
    if (built.exitCode !== 0)
      throw new Error(`the machines' root could not be built: ${(built.all || built.shortMessage || "").slice(-2000)}`);
  });
}

/** Whether it is built already: what must not take minutes asks first. */
export async function hasRootFileSystem(): Promise<boolean> {
  const { directory: binaries } = await requireKubernetesBinaries();
  return isThere(join(cacheDirectory(), await cacheName(binaries)));
}

async function cacheName(binaries: string): Promise<string> {
  const files = (await readdir(filesDirectory)).toSorted().map((name) => join(filesDirectory, name));
  return `root-${digestOf([basename(binaries), ...(await Promise.all([script, ...files].map((file) => readFile(file))))])}`;
}
