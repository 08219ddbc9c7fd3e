/** Debian's docker-registry on a directory of its own. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, spawnProgram } from "../../testbed/program.ts";

export interface RunningRegistry {
  /** "http://127.0.0.1:<port>" */
  readonly url: string;
  /** Where it keeps the bytes of a blob, for tests that damage them. */
  blobPath(digest: string): string;
  stop(): Promise<void>;
}

export async function startRegistry(): Promise<RunningRegistry> {
  const directory = await mkdtemp(join(tmpdir(), "drover-registry-"));
  const address = `127.0.0.1:${await freePort()}`;
  const storage = join(directory, "storage");
  await writeFile(
    join(directory, "config.yml"),
    `version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: ${storage}\nhttp:\n  addr: ${address}\n`,
  );
  const program = await spawnProgram(
    "/usr/bin/setpriv",
    ["--pdeathsig", "KILL", "/usr/bin/docker-registry", "serve", join(directory, "config.yml")],
    { logFile: join(directory, "log") },
  );
  const stop = async (): Promise<void> => {
    await program.stop(2000);
    await rm(directory, { recursive: true, force: true });
  };
  const url = `http://${address}`;
  try {
    await eventually("the registry answers", 15_000, async () => (await fetch(`${url}/v2/`)).ok);
  } catch (error) {
    await stop();
    throw error;
  }
  const blobPath = (digest: string): string => {
    const hex = digest.slice("sha256:".length);
    return join(storage, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
  };
  return { url, blobPath, stop };
}

/** The registry cannot say which port it was given, so it is told one that was free just now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}
