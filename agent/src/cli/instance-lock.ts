/** One agent per state directory: a name in the kernel that goes away with its process, however that ends. */
import { createHash } from "node:crypto";
import { mkdir, realpath } from "node:fs/promises";
import { createServer } from "node:net";

export type InstanceLock = { readonly isHeld: true; release(): Promise<void> } | { readonly isHeld: false };

/** @returns isHeld false when another process of this network namespace works on the same directory */
export async function lockStateDirectory(stateDir: string): Promise<InstanceLock> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const digest = createHash("sha256")
    .update(await realpath(stateDir))
    .digest("hex");
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve({ isHeld: false });
      else reject(error);
    });
    server.listen(`\0drover-agent-${digest}`, () => {
      server.unref();
      resolve({ isHeld: true, release: () => new Promise((done) => server.close(() => done())) });
    });
  });
}
