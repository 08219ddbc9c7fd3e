/**
 * containerd of several Debian releases, each as its package has it: the host's own where it is of that release, else unpacked
 * from the release's suite, fetched once and kept outside the checkout. The host's own apt is asked nothing and told nothing.
 */
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";

export type DebianSuite = "bookworm" | "trixie" | "sid";

export interface DebianContainerd {
  /** As it tells itself: "1.7.24~ds1". */
  readonly version: string;
  /** Path in a machine to the file on the host that belongs there; empty where the host's own is it. */
  readonly programs: Readonly<Record<string, string>>;
  /** Of containerd on the host. */
  readonly program: string;
  /** Of ctr on the host. */
  readonly ctr: string;
  /** What the package brings as /etc/containerd/config.toml. */
  readonly packagedConfig: string;
}

/** What that release has; sid goes on from there. */
const EXPECTED: Readonly<Record<DebianSuite, RegExp>> = { bookworm: /^1\.6\./, trixie: /^1\.7\./, sid: /^2\.[1-9]/ };
const NAMES = ["containerd", "containerd-shim-runc-v2", "ctr"];
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MINUTES_MS = 60_000;
/** Of Debian 12; the host's own file may have been edited. */
const BOOKWORM_CONFIG = `version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
`;

/** @throws when it has to be fetched and cannot be */
export async function debianContainerd(suite: DebianSuite, say: (line: string) => void): Promise<DebianContainerd> {
  const host = suite === "bookworm" ? await versionOf("/usr/bin/containerd").catch(() => "") : "";
  if (EXPECTED[suite].test(host)) {
    return { version: host, programs: {}, program: "/usr/bin/containerd", ctr: "/usr/bin/ctr", packagedConfig: BOOKWORM_CONFIG };
  }
  const directory = (await cached(suite)) ?? (await fetchOf(suite, say));
  const program = join(directory, "usr/bin/containerd");
  const version = await versionOf(program);
  if (!EXPECTED[suite].test(version)) {
    throw new Error(`Debian's ${suite} has containerd ${version}, which is none that ${EXPECTED[suite]} means: look at ${directory}`);
  }
  const programs = Object.fromEntries(NAMES.map((name) => [`/usr/bin/${name}`, join(directory, "usr/bin", name)]));
  const packagedConfig = await readFile(join(directory, "etc/containerd/config.toml"), "utf8");
  return { version, programs, program, ctr: join(directory, "usr/bin/ctr"), packagedConfig };
}

async function versionOf(program: string): Promise<string> {
  const { stdout } = await execa(program, ["--version"], { timeout: 20_000 });
  const version = stdout.split(/\s+/).find((word) => /^v?\d+\.\d+\./.test(word));
  if (version === undefined) throw new Error(`${program} --version says ${stdout}`);
  return version.replace(/^v/, "");
}

function cacheOf(suite: DebianSuite): string {
  return join(process.env["DROVER_CACHE"] ?? "/var/cache/drover-testbed", "containerd", suite);
}

/** By the package's version; undefined: none was fetched yet. */
async function cached(suite: DebianSuite): Promise<string | undefined> {
  const names = await readdir(cacheOf(suite)).catch(() => []);
  const newest = names
    .filter((name) => !name.startsWith("."))
    .toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))
    .at(-1);
  return newest === undefined ? undefined : join(cacheOf(suite), newest);
}

async function fetchOf(suite: DebianSuite, say: (line: string) => void): Promise<string> {
  await access(KEYRING).catch(() => {
    throw new Error(`containerd of Debian's ${suite} cannot be fetched without ${KEYRING}: install debian-archive-keyring`);
  });
  await mkdir(cacheOf(suite), { recursive: true });
  const work = await mkdtemp(join(cacheOf(suite), ".fetching-"));
  try {
    const apt = await privateApt(work, suite);
    say(`fetching containerd of Debian's ${suite}`);
    await apt("/usr/bin/apt-get", ["update", "--quiet=2"]);
    await apt("/usr/bin/apt-get", ["download", "--quiet=2", "containerd"]);
    const file = (await readdir(work)).find((name) => name.endsWith(".deb"));
    if (file === undefined) throw new Error(`apt-get download left no package in ${work}`);
    await execa("/usr/bin/dpkg-deb", ["-x", join(work, file), join(work, "root")]);
    const { stdout: version } = await execa("/usr/bin/dpkg-deb", ["-f", join(work, file), "Version"]);
    const target = join(cacheOf(suite), version.trim());
    // Another one may have fetched it meanwhile: the same package has the same content.
    await rename(join(work, "root"), target).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
    return target;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** apt with one source and no memory but this directory; proxies and the like are the host's. */
async function privateApt(work: string, suite: DebianSuite): Promise<(program: string, args: readonly string[]) => Promise<void>> {
  await mkdir(join(work, "state/lists/partial"), { recursive: true });
  await mkdir(join(work, "cache/archives/partial"), { recursive: true });
  await writeFile(join(work, "sources.list"), `deb [signed-by=${KEYRING}] ${await mirrorOfHost()} ${suite} main\n`);
  const settings = {
    "Dir::Etc::SourceList": join(work, "sources.list"),
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::Etc::Preferences": "/dev/null",
    "Dir::Etc::PreferencesParts": "/dev/null",
    "Dir::State": join(work, "state"),
    "Dir::State::status": "/dev/null",
    "Dir::Cache": join(work, "cache"),
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
    // Its own user could not write here.
    "APT::Sandbox::User": "root",
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  return async (program, args) => {
    const result = await execa(program, [...options, ...args], { cwd: work, timeout: 5 * MINUTES_MS, reject: false });
    if (result.exitCode === 0) return;
    throw new Error(`${program} ${args.join(" ")} of Debian's ${suite} ended with ${result.exitCode}: ${result.stderr.slice(-2000)}`);
  };
}

/** Where the host has its own Debian packages from. */
async function mirrorOfHost(): Promise<string> {
  const format = "$(CREATED_BY) $(ORIGIN) $(LABEL) $(REPO_URI)";
  const { stdout } = await execa("/usr/bin/apt-get", ["indextargets", "--format", format], { reject: false });
  const line = stdout.split("\n").find((each) => each.startsWith("Packages Debian Debian "));
  return line?.split(" ")[3] ?? "http://deb.debian.org/debian";
}
