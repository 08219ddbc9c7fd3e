/**
 * One profile on machines with the containerd of Debian 12, 13 and sid: each takes it as its own version reads it, brings the
 * images and pins them as it can, is taken back when it does not come up, and has its file back at the end.
 */
import { join } from "node:path";
import { ContainerdClient } from "../../agent/src/host/containerd/containerd-client.ts";
import type { CriImage } from "../../agent/src/host/containerd-port.ts";
import { parseToml, type TomlPath, type TomlTable, valueAt } from "../../agent/src/format/toml.ts";
import { type DebianContainerd, debianContainerd, type DebianSuite } from "../support/containerd/index.ts";
import { makeImage, writeOciArchive } from "../support/images/index.ts";
import type { LightMachine } from "../testbed/light/light-machine.ts";
import { eventually } from "../testbed/program.ts";
import { type LockEntry, Site } from "../testbed/site.ts";
import type { E2eScenario } from "./scenario.ts";

const apiVersion = "drover.dev/v1alpha1";
const SANDBOX = "registry.example/base/pause:3.10";
const CONFIG = "/etc/containerd/config.toml";

/** Where each schema has what the profile sets, and what Debian's own file sets. */
interface Places {
  readonly sandboxImage: TomlPath;
  readonly systemdCgroup: TomlPath;
  readonly otherRuntime: TomlPath;
  readonly downloads: TomlPath;
  readonly registries: TomlPath;
  readonly cniPlugins: TomlPath;
}
const cri = "io.containerd.grpc.v1.cri";
const images = "io.containerd.cri.v1.images";
const runtime = "io.containerd.cri.v1.runtime";
const VERSION_2: Places = {
  sandboxImage: ["plugins", cri, "sandbox_image"],
  systemdCgroup: ["plugins", cri, "containerd", "runtimes", "runc", "options", "SystemdCgroup"],
  otherRuntime: ["plugins", cri, "containerd", "runtimes", "other", "runtime_type"],
  downloads: ["plugins", cri, "max_concurrent_downloads"],
  registries: ["plugins", cri, "registry", "config_path"],
  cniPlugins: ["plugins", cri, "cni", "bin_dir"],
};
const VERSION_3: Places = {
  sandboxImage: ["plugins", images, "pinned_images", "sandbox"],
  systemdCgroup: ["plugins", runtime, "containerd", "runtimes", "runc", "options", "SystemdCgroup"],
  otherRuntime: ["plugins", runtime, "containerd", "runtimes", "other", "runtime_type"],
  downloads: ["plugins", images, "max_concurrent_downloads"],
  registries: ["plugins", images, "registry", "config_path"],
  cniPlugins: ["plugins", runtime, "cni", "bin_dirs"],
};

const RELEASES: readonly { readonly suite: DebianSuite; readonly places: Places; readonly knowsPins: boolean }[] = [
  { suite: "bookworm", places: VERSION_2, knowsPins: false },
  { suite: "trixie", places: VERSION_2, knowsPins: true },
  { suite: "sid", places: VERSION_3, knowsPins: true },
];

interface Subject {
  readonly release: (typeof RELEASES)[number];
  readonly containerd: DebianContainerd;
  readonly machine: LightMachine;
  readonly say: (line: string) => void;
}

export const containerdVersions: E2eScenario = {
  name: "containerd-versions",
  summary: "containerd 1.6, 1.7 and 2.1: configured, asked, preloaded, pinned as each can, taken back, put back",
  isShort: true,
  async run(say) {
    const versions: DebianContainerd[] = [];
    // One after the other: apt waits for nobody.
    for (const { suite } of RELEASES) versions.push(await debianContainerd(suite, say));
    await using site = await Site.make();
    await site.startRegistry();
    const lock = await layOutImages(site);
    const subjects: Subject[] = [];
    for (const [index, release] of RELEASES.entries()) subjects.push(await addSubject(site, release, versions[index]!, say));

    await apply(site, "good", profile("good", { containerd: configured(site), images: { lock: "good" } }), lockObject("good", lock));
    const configs = await Promise.all(subjects.map((subject) => takesTheProfile(site, subject, lock)));

    const broken = { containerd: { ...configured(site), rootDir: "/proc/drover" }, images: { lock: "good" } };
    await apply(site, "broken", profile("broken", broken));
    await Promise.all(subjects.map((subject, index) => isTakenBack(site, subject, configs[index]!)));

    const loosened = lock.map((entry) => ({ ...entry, pinned: entry.name === SANDBOX }));
    await apply(site, "without", profile("without", { images: { lock: "without" } }), lockObject("without", loosened));
    await Promise.all(subjects.map((subject) => isPutBack(site, subject, loosened)));
  },
};

/** Two that are pulled through the mirror, and one in an archive that every machine sees. */
async function layOutImages(site: Site): Promise<readonly LockEntry[]> {
  const pulled = await site.pushImages({ [SANDBOX]: 300_000, "registry.example/web/app:7": 3_000_000 });
  const image = makeImage({ sizeBytes: 1_000_000, seed: 71, layerCount: 3 });
  const archive = join(site.bed.directory, "archived.tar");
  const name = "registry.example/web/archived:1";
  await writeOciArchive(archive, image, name);
  return [...pulled, { name, digest: image.digest, size: image.sizeBytes, pinned: true, archive } as LockEntry];
}

async function addSubject(
  site: Site,
  release: Subject["release"],
  containerd: DebianContainerd,
  say: (line: string) => void,
): Promise<Subject> {
  const name = `debian-${release.suite}`;
  const prepare = async (bare: LightMachine): Promise<void> => {
    for (const [path, file] of Object.entries(containerd.programs)) await must(bare, "mount", ["--bind", file, path]);
    await bare.writeFile(CONFIG, containerd.packagedConfig);
  };
  const machine = await site.addMachine(name, { subject: name }, { prepare });
  const told = await must(machine, "containerd", ["--version"]);
  check(told.includes(containerd.version), `${name} has containerd ${containerd.version}, and not ${told}`);
  await eventually(`${name} is enrolled`, 60_000, async () => (await site.drover(["get", "node", name])).exitCode === 0);
  say(`${name}: containerd ${containerd.version}, enrolled`);
  return { release, containerd, machine, say: (line) => say(`${name}: ${line}`) };
}

/** @returns its config.toml then */
async function takesTheProfile(site: Site, subject: Subject, lock: readonly LockEntry[]): Promise<string> {
  const { machine, release, say } = subject;
  await reaches(site, machine, "good", "InSync");
  const { places } = release;
  const effective = await dumpOf(machine);
  const expected: readonly (readonly [TomlPath, unknown])[] = [
    [places.sandboxImage, SANDBOX],
    [places.systemdCgroup, true],
    [places.otherRuntime, "io.containerd.runc.v2"],
    [places.downloads, 7n],
    [places.registries, "/etc/containerd/certs.d"],
    [places.cniPlugins, Array.isArray(valueAt(effective, places.cniPlugins)) ? ["/usr/lib/cni"] : "/usr/lib/cni"],
  ];
  for (const [path, value] of expected) {
    const present = valueAt(effective, path);
    check(inspect(present) === inspect(value), `${path.join(".")} is ${inspect(value)}, and not ${inspect(present)}`);
  }
  const starts = await machine.serviceStarts("containerd");
  check(starts === 2, `containerd was restarted once, and not ${starts - 1} times`);
  await criAnswers(subject);
  await imagesAreThere(subject, lock);
  const reasons = await conditionReasons(site, machine.name);
  const wanted = release.knowsPins ? "Pinned" : "RuntimeIgnoresPins";
  check(reasons["ImagesProtected"] === wanted, `ImagesProtected says ${wanted}, and not ${reasons["ImagesProtected"]}`);
  check(reasons["ImagesPresent"] === "AllPresent", `ImagesPresent says AllPresent, and not ${reasons["ImagesPresent"]}`);
  say(`configuration taken, CRI answers, ${lock.length} images there, pins: ${wanted}`);
  return machine.readFile(CONFIG);
}

async function isTakenBack(site: Site, subject: Subject, before: string): Promise<void> {
  const { machine, say } = subject;
  const status = await reaches(site, machine, "broken", "Failed");
  const told = JSON.stringify(status);
  check(
    told.includes("CriNotAnswering") && told.includes("CRI answers again"),
    `the node says why it failed, and that it is back: ${told}`,
  );
  check((await machine.readFile(CONFIG)) === before, "config.toml is as it was before the broken profile");
  check((await dumpOf(machine))["root"] === "/var/lib/containerd", "containerd's root is where it was");
  await criAnswers(subject);
  say("a profile with which it does not start was taken back");
}

async function isPutBack(site: Site, subject: Subject, lock: readonly LockEntry[]): Promise<void> {
  const { machine, containerd, say } = subject;
  await reaches(site, machine, "without", "InSync");
  const config = await machine.readFile(CONFIG);
  check(config.trimEnd() === containerd.packagedConfig.trimEnd(), `config.toml is the package's again, and not: ${config}`);
  const hosts = await machine.run("test", ["-e", "/etc/containerd/certs.d/registry.example/hosts.toml"]);
  check(hosts.exitCode !== 0, "hosts.toml is gone");
  await criAnswers(subject);
  await imagesAreThere(subject, lock);
  say("without the section its file is the package's again, and images that the lock no longer pins are free");
}

async function criAnswers({ machine, containerd }: Subject): Promise<void> {
  await withClient(machine, async (client, signal) => {
    const status = await client.criStatus(signal);
    check(status.isReady, `CRI is ready: ${status.message}`);
    const running = await client.version(signal);
    check(containerd.version.startsWith(running), `what runs is ${containerd.version}, and not ${running}`);
  });
}

/** By digest, whole, and with each pin as it is wanted, in containerd's own word and in CRI's. */
async function imagesAreThere({ machine, release }: Subject, lock: readonly LockEntry[]): Promise<void> {
  await withClient(machine, async (client, signal) => {
    const listed = await client.listCriImages(signal);
    const checked = await must(machine, "ctr", ["-n", "k8s.io", "images", "check"]);
    const labels = await must(machine, "ctr", ["-n", "k8s.io", "images", "list"]);
    for (const { name, digest, pinned } of lock) {
      const seen: CriImage | undefined = listed.find((image) => image.repoTags.includes(name));
      check(seen !== undefined, `CRI lists ${name}`);
      check(seen?.isPinned === (pinned && release.knowsPins), `CRI shows ${name} as ${pinned ? "" : "not "}pinned`);
      const own = labels.split("\n").find((line) => line.startsWith(`${name} `)) ?? "";
      check(own.includes(digest), `${name} is ${digest}: ${own}`);
      check(own.includes("io.cri-containerd.pinned=pinned") === pinned, `${name} is ${pinned ? "" : "not "}labelled as pinned: ${own}`);
      const whole = checked.split("\n").find((line) => line.startsWith(`${name} `)) ?? "";
      check(/ complete .* true\s*$/.test(whole), `${name} is whole and unpacked: ${whole}`);
    }
  });
}

async function withClient(machine: LightMachine, work: (client: ContainerdClient, signal: AbortSignal) => Promise<void>): Promise<void> {
  const client = new ContainerdClient({ socketPath: `/proc/${machine.pid}/root/run/containerd/containerd.sock` });
  try {
    await work(client, AbortSignal.timeout(60_000));
  } finally {
    client.close();
  }
}

async function dumpOf(machine: LightMachine): Promise<TomlTable> {
  const parsing = parseToml(await must(machine, "containerd", ["config", "dump"]));
  if (!parsing.ok) throw new Error(`${machine.name}: the dump is no TOML: ${parsing.message}`);
  return parsing.table;
}

interface NodeStatus {
  readonly phase: string;
  readonly desiredGeneration: number;
  readonly observedGeneration: number;
  readonly conditions: readonly { readonly type: string; readonly reason: string }[];
}

/** The phase, of the generation that the profile with that name came with: the ones before were other phases. */
async function reaches(site: Site, machine: LightMachine, profileName: string, phase: string): Promise<NodeStatus> {
  let last: NodeStatus | undefined;
  return eventually(`${machine.name} is ${phase} with the profile ${profileName}`, 150_000, async () => {
    last = await statusOf(site, machine.name);
    return last.phase === phase && last.desiredGeneration >= GENERATIONS[profileName]! && last.observedGeneration >= last.desiredGeneration
      ? last
      : undefined;
  }).catch(async (error: unknown) => {
    const log = (await machine.serviceLog("drover-agent")).split("\n").slice(-20).join("\n");
    throw new Error(`${machine.name}: ${JSON.stringify(last)}\n${log}`, { cause: error });
  });
}
/** Each profile is one plan for each node. */
const GENERATIONS: Readonly<Record<string, number>> = { good: 1, broken: 2, without: 3 };

async function statusOf(site: Site, name: string): Promise<NodeStatus> {
  return (JSON.parse(await site.mustDrover(["get", "node", name, "-o", "json"])) as { status: NodeStatus }).status;
}

async function conditionReasons(site: Site, name: string): Promise<Readonly<Record<string, string>>> {
  return Object.fromEntries((await statusOf(site, name)).conditions.map(({ type, reason }) => [type, reason]));
}

function configured(site: Site): object {
  return {
    sandboxImage: SANDBOX,
    systemdCgroup: true,
    maxConcurrentDownloads: 7,
    runtimes: [{ name: "other" }],
    registries: [{ host: "registry.example", mirrors: [{ url: `http://${site.registry}` }] }],
  };
}

function profile(name: string, spec: object): object {
  return { apiVersion, kind: "NodeProfile", metadata: { name }, spec };
}

function lockObject(name: string, entries: readonly LockEntry[]): object {
  return { apiVersion, kind: "ImageLock", metadata: { name }, spec: { images: entries } };
}

/** One set for each machine, so that a failure on one holds up no other. */
async function apply(site: Site, name: string, ...objects: readonly object[]): Promise<void> {
  const sets = RELEASES.map(({ suite }) => {
    const spec = { selector: { matchLabels: { subject: `debian-${suite}` } }, profile: name };
    return { apiVersion, kind: "NodeSet", metadata: { name: `debian-${suite}` }, spec };
  });
  await site.mustDrover(["apply", "-f", await site.manifest(name, ...objects, ...sets)]);
}

async function must(machine: LightMachine, program: string, args: readonly string[]): Promise<string> {
  const result = await machine.run(program, args);
  if (result.exitCode !== 0)
    throw new Error(`${machine.name}: ${program} ${args.join(" ")} ended with ${result.exitCode}: ${result.stderr}`);
  return result.stdout;
}

function check(holds: boolean, claim: string): void {
  if (!holds) throw new Error(`it does not hold: ${claim}`);
}

function inspect(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) => (typeof each === "bigint" ? Number(each) : each)) ?? "absent";
}
