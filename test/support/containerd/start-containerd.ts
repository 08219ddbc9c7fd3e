/** A real containerd on directories of its own, which can be killed and started again. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import { eventually, type SpawnedProgram, spawnProgram } from "../../testbed/program.ts";

export interface ContainerdOptions {
  /** Registry host as images name it to the URLs that are asked instead, in this order. */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Default: DROVER_TEST_CONTAINERD of the environment, for other versions; else Debian's "/usr/bin/containerd". */
  readonly program?: string;
  /** Default "overlayfs"; "native" where the temporary directory lies on an overlay. */
  readonly snapshotter?: string;
}

export interface RunningContainerd {
  readonly socketPath: string;
  /** All it keeps, in one directory that is removed by stop. */
  readonly directory: string;
  readonly rootDirectory: string;
  /** What runs. */
  readonly program: string;
  readonly pid: number;
  log(): Promise<string>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
  /** Again, on the same directories; resolves when CRI is served. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export async function startContainerd(options: ContainerdOptions = {}): Promise<RunningContainerd> {
  const directory = await mkdtemp(join(tmpdir(), "drover-containerd-"));
  const socketPath = join(directory, "containerd.sock");
  await mkdir(join(directory, "cni"));
  for (const [host, urls] of Object.entries(options.mirrors ?? {})) await writeHosts(directory, host, urls);
  await writeFile(join(directory, "config.toml"), config(directory, socketPath, options.snapshotter ?? "overlayfs"));
  const programPath = options.program ?? process.env.DROVER_TEST_CONTAINERD ?? "/usr/bin/containerd";
  let program: SpawnedProgram;
  const start = async (): Promise<void> => {
    // A mount namespace of its own: what it mounts while unpacking dies with it. And it dies with the test.
    const args = ["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"];
    program = await spawnProgram("/usr/bin/setpriv", [...args, programPath, "-c", join(directory, "config.toml")], {
      logFile: join(directory, "log"),
    });
    await criReady(socketPath);
  };
  const kill = async (): Promise<void> => {
    program.signal("SIGKILL");
    await program.ended;
  };
  const stop = async (): Promise<void> => {
    await program.stop(5000);
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    socketPath,
    directory,
    rootDirectory: join(directory, "root"),
    program: programPath,
    get pid() {
      return program.pid;
    },
    log: () => program.log(),
    kill,
    start,
    stop,
  };
}

/** containerd says that it has booted before CRI has recovered its state; until then CRI refuses every call. */
async function criReady(socketPath: string): Promise<void> {
  const client = new ContainerdClient({ socketPath });
  try {
    const { signal } = new AbortController();
    await eventually("CRI is served", 30_000, async () => (await client.criStatus(signal)).isReady);
  } finally {
    client.close();
  }
}

async function writeHosts(directory: string, host: string, urls: readonly string[]): Promise<void> {
  const hostDirectory = join(directory, "certs.d", host);
  await mkdir(hostDirectory, { recursive: true });
  const sections = urls.map((url) => `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`);
  await writeFile(join(hostDirectory, "hosts.toml"), `server = "${urls[0]}"\n\n${sections.join("\n")}`);
}

function config(directory: string, socketPath: string, snapshotter: string): string {
  const unused = ["snapshotter.v1.aufs", "snapshotter.v1.btrfs", "snapshotter.v1.devmapper", "snapshotter.v1.zfs", "internal.v1.opt"];
  return `version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = [${unused.map((plugin) => `"io.containerd.${plugin}"`).join(", ")}]

[grpc]
  address = "${socketPath}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.test/pause:3.9"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${snapshotter}"

  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "${directory}/cni"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "${directory}/certs.d"
`;
}
