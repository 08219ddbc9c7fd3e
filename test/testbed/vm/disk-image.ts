/** The disk, kernel and initramfs that every virtual machine starts from: built once, then only read. */
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { bedEnvironment } from "../environment.ts";
import { cached, digestOf } from "../roots/cache.ts";
import { rootFileSystem } from "../roots/root-file-system.ts";

const script = fileURLToPath(new URL("./build-disk-image.sh", import.meta.url));
const guestDirectory = fileURLToPath(new URL("./guest", import.meta.url));
const BUILD_TIMEOUT_MS = 15 * 60_000;

export interface DiskImage {
  /** Raw, sparse, 8 GiB; the backing file of each machine's own disk. */
  readonly disk: string;
  readonly kernel: string;
  readonly initramfs: string;
}

/** Of the machines' common root. The first on a computer takes half a minute, and the root's own minute where that is not there. */
export async function diskImage(): Promise<DiskImage> {
  const root = await rootFileSystem();
  const files = (await readdir(guestDirectory)).toSorted().map((name) => join(guestDirectory, name));
  const recipe = await Promise.all([script, ...files].map((file) => readFile(file)));
  const directory = await cached(`vm-${digestOf([basename(root), ...recipe])}`, async (half) => {
    const built = await execa("sh", [script, half, root], {
      reject: false,
      all: true,
      timeout: BUILD_TIMEOUT_MS,
      env: bedEnvironment,
      extendEnv: false,
    });
    if (built.exitCode !== 0)
      throw new Error(`the virtual machines' disk could not be built: ${(built.all || built.shortMessage || "").slice(-2000)}`);
  });
  return { disk: join(directory, "disk.img"), kernel: join(directory, "vmlinuz"), initramfs: join(directory, "initramfs") };
}
