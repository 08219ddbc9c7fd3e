/** One process per directory: a name in the kernel that goes away with its process, however that ends. */
import { createHash } from "node:crypto";
import { mkdir, realpath } from "node:fs/promises";
import { createServer } from "node:net";

export type InstanceLock = { readonly isHeld: true; release(): Promise<void> } | { readonly isHeld: false };

/**
 * Makes the directory when it is missing.
 * @returns isHeld false when another process of this program and network namespace works on the same directory
 */
export async function lockDirectory(program: string, directory: string): Promise<InstanceLock> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const digest = createHash("sha256")
    .update(await realpath(directory))
    .digest("hex");
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve({ isHeld: false });
      else reject(error);
    });
    server.listen(`\0${program}-${digest}`, () => {
      server.unref();
      resolve({ isHeld: true, release: () => new Promise((done) => server.close(() => done())) });
    });
  });
}
