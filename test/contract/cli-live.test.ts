/** The operator's command as a program, against a running coordinator with two machines: what it says, what it ends with, what it leaves alone. */
import "reflect-metadata";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parse, parseAllDocuments, stringify } from "yaml";
import { systemClock } from "@drover/lifecycle";
import { openAuthority, pemOf } from "../../coordinator/src/identity/authority.ts";
import { openSqliteStore } from "../../coordinator/src/store/sqlite-store.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";

const coordinatorMain = join(import.meta.dirname, "../../coordinator/src/main.ts");
const cliMain = join(import.meta.dirname, "../../cli/src/main.ts");
const apiVersion = "drover.dev/v1alpha1";
const enrolSeconds = 60;

interface ContextFile {
  currentContext: string;
  contexts: { name: string; endpoint: string; caPem: string; certificatePem: string; keyPem: string }[];
}

// Each test runs several programs; on a machine with other work each takes its second.
vi.setConfig({ testTimeout: 90_000 });

let site: Site;
/** Of applied.yaml: what the set's nodes have. */
let applied: string;

const profile = (name: string, values: Record<string, string>, metadata: object = {}): object => ({
  apiVersion,
  kind: "NodeProfile",
  metadata: { name, ...metadata },
  spec: { sysctl: { values } },
});
const nodeSet = (name: string, role: string, profileName: string): object => ({
  apiVersion,
  kind: "NodeSet",
  metadata: { name },
  spec: { selector: { matchLabels: { role } }, profile: profileName },
});
/** As Site's, but with Node's cache of compiled code: half of what a command costs is compiling it. */
const drover = (...words: string[]) =>
  site.bed.run(nodeProgram, [cliMain, ...words], {
    env: { DROVER_CONFIG: site.contextFile, XDG_CACHE_HOME: site.bed.directory },
  });

/** Contexts that are as they should not be: a viewer, somebody known to another CA, and a coordinator that is not there. */
async function addContexts(): Promise<void> {
  const config = join(site.bed.directory, "coordinator.yaml");
  const words = ["operator", "create", "vera", "--role", "viewer", "--config", config, "--out", site.contextFile];
  const made = await site.bed.run(nodeProgram, [coordinatorMain, ...words]);
  if (made.exitCode !== 0) throw new Error(made.stderr);
  const file = parse(await readFile(site.contextFile, "utf8")) as ContextFile;
  const admin = file.contexts.find(({ name }) => name === "admin")!;
  const elsewhere = await mkdtemp(join(tmpdir(), "drover-other-ca-"));
  try {
    const authority = await openAuthority(elsewhere, systemClock);
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const leaf = await authority.issueOperator("admin", pair.publicKey);
    const keyPem = pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    file.contexts.push(
      { ...admin, name: "stranger", certificatePem: pemOf(leaf.chain), keyPem },
      { ...admin, name: "impostor", caPem: authority.bundlePem },
      { ...admin, name: "gone", endpoint: admin.endpoint.replace(/:\d+$/, ":9") },
    );
  } finally {
    await rm(elsewhere, { recursive: true });
  }
  await writeFile(site.contextFile, stringify(file), { mode: 0o600 });
}

/** Every key of the store and when it changed last. */
async function storeListing(): Promise<readonly string[]> {
  const store = openSqliteStore(join(site.dataDirectory, "store.db"));
  try {
    return (await store.list("")).entries.map(({ key, revision }) => `${key}@${revision}`);
  } finally {
    await store.close();
  }
}

beforeAll(async () => {
  site = await Site.make({ intervals: { driftScan: "1h" } });
  await addContexts();
  await Promise.all(["web-1", "web-2"].map((name) => site.addMachine(name, { role: "web" })));
  applied = await site.manifest("applied", profile("web", { "net.core.somaxconn": "4096" }), nodeSet("web", "web", "web"));
  await site.mustDrover(["apply", "-f", applied]);
  await site.mustDrover(["rollout", "status", "web-1", "--timeout", `${enrolSeconds}s`]);
}, 120_000);

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
});

describe("get", () => {
  it("shows objects as table, wide, JSON, YAML and names, by label too", async () => {
    const [table, wide, json, yaml, name, one, none] = await Promise.all([
      drover("get", "nodes"),
      drover("get", "nodes", "-o", "wide"),
      drover("get", "nodes", "-o", "json"),
      drover("get", "node", "web-2", "-o", "yaml"),
      drover("get", "nodes", "-o", "name", "-l", "role=web"),
      drover("get", "nodes", "-o", "name", "-l", "drover.dev/hostname in (web-2)"),
      drover("get", "nodes", "-l", "role=db"),
    ]);
    expect(table.stdout).toMatch(/^NAME +PHASE +HEALTH +SET .*\nweb-1 +InSync +healthy +web +1\/1 /);
    expect(wide.stdout).toMatch(/^NAME .*REASON +LABELS\nweb-1 .* - +role=web\n/);
    const list = JSON.parse(json.stdout) as { kind: string; items: { metadata: { name: string } }[] };
    expect([list.kind, ...list.items.map(({ metadata }) => metadata.name)]).toEqual(["List", "web-1", "web-2"]);
    expect(parse(yaml.stdout)).toMatchObject({ kind: "Node", metadata: { name: "web-2", labels: { role: "web" } } });
    expect(name.stdout).toBe("node/web-1\nnode/web-2");
    expect(one.stdout).toBe("node/web-2");
    expect(none).toMatchObject({ exitCode: 0, stdout: "", stderr: "no Node found for role=db" });
    // Nothing of ours or of the runtime's on the terminal but what was asked for.
    expect([table, wide, json, yaml, name, one].map(({ exitCode, stderr }) => `${exitCode}${stderr}`)).toEqual(Array(6).fill("0"));
  });

  it("goes on and shows a change with -w", async () => {
    const log = join(site.bed.directory, "watch.log");
    const watch = await site.bed.spawn(nodeProgram, [cliMain, "get", "nodeprofiles", "-w"], log, { DROVER_CONFIG: site.contextFile });
    try {
      await eventually("the present state is shown", 60_000, async () => (await watch.log()).includes("web "));
      await site.mustDrover(["apply", "-f", await site.manifest("watched", profile("watched", { "net.core.somaxconn": "1024" }))]);
      await eventually("the new object is shown", 60_000, async () => /^watched +sysctl/m.test(await watch.log()));
      await site.mustDrover(["delete", "nodeprofile/watched"]);
      await eventually("its end is shown", 60_000, async () => /^watched .*\(deleted\)$/m.test(await watch.log()));
    } finally {
      watch.signal("SIGINT");
    }
    expect(await watch.ended).toBe(0);
  });

  it("shows every object of the present state as a document of its own with -o yaml -w", async () => {
    const log = join(site.bed.directory, "watch-yaml.log");
    const words = ["get", "nodes", "-o", "yaml", "-w"];
    const watch = await site.bed.spawn(nodeProgram, [cliMain, ...words], log, { DROVER_CONFIG: site.contextFile });
    try {
      await eventually("both nodes are shown", 60_000, async () => {
        const names = parseAllDocuments(await watch.log()).map((document) => document.getIn(["metadata", "name"]));
        return names.includes("web-1") && names.includes("web-2");
      });
    } finally {
      watch.signal("SIGINT");
    }
    expect(await watch.ended).toBe(0);
  });
});

describe("describe, logs", () => {
  it("tells equal machines once", async () => {
    const { stdout } = await drover("describe", "nodes");
    expect(stdout).toMatch(/^Nodes: +web-1, web-2 \(2 equal machines\)$/m);
    expect(stdout.match(/^Conditions:$/gm)).toHaveLength(1);
    expect(stdout).toMatch(/^ {2}web-1: id \w{10}, seen \d+s ago, 10\.213\.0\.\d+$/m);
  });

  it("fetches what a step printed from its node", async () => {
    const [sysctl, noStep] = await Promise.all([drover("logs", "web-1", "--step", "sysctl"), drover("logs", "web-1", "--step", "reboot")]);
    expect(sysctl).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("wrote /etc/sysctl.d/90-drover.conf") as string });
    expect(noStep).toMatchObject({ exitCode: 5, stderr: expect.stringContaining("NoSuchStep") as string });
  });
});

describe("diff and dry runs", () => {
  it("ends with 0 for the same, 1 for a difference, 2 for an error", async () => {
    const changed = await site.manifest("changed", profile("web", { "net.core.somaxconn": "8192" }));
    const broken = await site.manifest("broken", { ...profile("web", {}), spec: { sysctrl: {} } });
    const [same, differs, error, unreachable] = await Promise.all([
      drover("diff", "-f", applied),
      drover("diff", "-f", changed),
      drover("diff", "-f", broken),
      drover("--context", "gone", "diff", "-f", changed),
    ]);
    expect(same).toMatchObject({ exitCode: 0, stdout: "" });
    expect(differs).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/^-.*"4096"\n\+.*"8192"$/m) as string });
    expect(error).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/broken\.yaml:\d+:\d+: /) as string });
    expect(unreachable).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("cannot be reached") as string });
  });

  it("changes nothing in a dry run here, at the coordinator, or on the nodes", async () => {
    const changed = await site.manifest("dry", profile("web", { "net.core.somaxconn": "8192" }), nodeSet("more", "db", "web"));
    const before = await storeListing();
    const [client, server, node] = await Promise.all(
      ["client", "server", "node"].map((where) => drover("apply", "-f", changed, `--dry-run=${where}`)),
    );
    expect(client).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("nodeprofile/web valid (client dry run)") as string });
    expect(server).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/rollout\/\S+ would start, 2 nodes/) as string });
    expect(node).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("net.core.somaxconn: 4096 -> 8192 [live]") as string });
    expect(await storeListing()).toEqual(before);
    expect(await site.machines.get("web-1")!.readFile("/proc/sys/net/core/somaxconn")).toBe("4096");
  });
});

describe("exit codes", () => {
  it("1: the coordinator is not there", async () => {
    const { exitCode, stderr } = await drover("--context", "gone", "get", "nodes");
    expect(stderr).toMatch(/cannot be reached[\s\S]*\nnext: {2}.*drover context list/);
    expect(exitCode).toBe(1);
  });

  it("2: words that are none", async () => {
    expect((await drover("get", "pods")).exitCode).toBe(2);
  });

  it("3: a rollout that stopped, for rollout status and for wait", async () => {
    const machine = await site.addMachine("db-1", { role: "db" });
    // The kernel has it in the first network namespace only.
    const failing = await site.manifest(
      "failing",
      profile("db", { "net.ipv4.neigh.default.gc_thresh3": "4096" }),
      nodeSet("db", "db", "db"),
    );
    await site.mustDrover(["apply", "-f", failing]);
    const status = await drover("rollout", "status", "db-1", "--timeout", "40s");
    expect(status.stderr).toMatch(/rollout\/db-1 is Stopped: [\s\S]*\nnext: {2}drover describe rollout db-1/);
    expect(status.exitCode).toBe(3);
    const waited = await drover("wait", "rollout/db-1", "--for=phase=Complete");
    expect(waited).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("is Stopped") as string });
    expect((await drover("describe", "rollout", "db-1")).stdout).toContain("Stopped");
    expect((await drover("get", "nodes", "-o", "wide", "-l", "role=db")).stdout).toMatch(
      new RegExp(`^${machine.name} .* SysctlUnknownKey `, "m"),
    );
  });

  it("4: a viewer who changes things, a certificate of another CA, a coordinator of another CA", async () => {
    const [viewer, stranger, impostor] = await Promise.all(
      ["vera", "stranger", "impostor"].map((context) => drover("--context", context, "apply", "-f", applied)),
    );
    expect(viewer).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/viewer[\s\S]*next: {2}drover whoami/) as string });
    expect(stranger).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("do not trust each other") as string });
    expect(impostor).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("do not trust each other") as string });
    expect((await drover("--context", "vera", "get", "nodes")).exitCode).toBe(0);
    const audit = await drover("audit", "--actor", "operator:vera");
    expect(audit.stdout).toMatch(/operator:vera +\S+ +\S+ +refused /);
  });

  it("5: objects that are not there", async () => {
    const all = await Promise.all([
      drover("get", "node", "nobody"),
      drover("describe", "rollout", "none"),
      drover("delete", "nodeset/none"),
      drover("logs", "nobody"),
      drover("rollout", "status", "none"),
      drover("wait", "node/nobody", "--for=condition=InSync"),
    ]);
    expect(all.map(({ exitCode }) => exitCode)).toEqual([5, 5, 5, 5, 5, 5]);
    const hints = all.map(({ stderr }) => /^next: {2}drover (.*)$/m.exec(stderr)?.[1]);
    expect(hints).toEqual(["get nodes", "get rollouts", "get nodesets", "get nodes", "get rollouts", "get nodes"]);
    const helped = await Promise.all([...new Set(hints)].map((hint) => drover(...hint!.split(" "))));
    expect(helped.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
  });

  it("6: a stale resourceVersion, and a profile that is in use", async () => {
    const stale = await site.manifest("stale", profile("web", { "net.core.somaxconn": "9999" }, { resourceVersion: 1 }));
    const [changed, deleted] = await Promise.all([drover("apply", "-f", stale), drover("delete", "nodeprofile", "web")]);
    expect(changed).toMatchObject({ exitCode: 6, stderr: expect.stringContaining("next:  drover get") as string });
    expect(deleted).toMatchObject({ exitCode: 6, stderr: expect.stringContaining("NodeSet/web") as string });
    expect((await drover("diff", "-f", applied)).exitCode).toBe(0);
  });

  it("7: a wait whose time is up; 0 when the goal is met", async () => {
    const [late, met, all] = await Promise.all([
      drover("wait", "node/web-1", "--for=condition=InSync=False", "--timeout", "1s"),
      drover("wait", "node/web-1", "--for=condition=InSync"),
      drover("wait", "nodes", "-l", "role=web", "--for=condition=InSync"),
    ]);
    expect(late).toMatchObject({ exitCode: 7, stderr: expect.stringContaining("next:  drover describe node web-1") as string });
    expect(met).toMatchObject({ exitCode: 0 });
    expect(all.stdout.split("\n")).toHaveLength(2);
  });
});

describe("clusters", () => {
  const manifest = (endpoint: string): object => ({
    apiVersion,
    kind: "Cluster",
    metadata: { name: "prod" },
    spec: { endpoint, caCertHashes: [`sha256:${"0123456789abcdef".repeat(4)}`] },
  });

  it("are applied, compared, shown and waited for as other objects are", async () => {
    const file = await site.manifest("cluster", manifest("10.213.0.250:6443"));
    const moved = await site.manifest("cluster-moved", manifest("10.213.0.251:6443"));
    expect((await drover("diff", "-f", file)).exitCode).toBe(1);
    expect(await drover("apply", "-f", file)).toMatchObject({ exitCode: 0, stdout: "cluster/prod created" });
    const [same, differs, table, described, late] = await Promise.all([
      drover("diff", "-f", file),
      drover("diff", "-f", moved),
      drover("get", "clusters"),
      drover("describe", "cluster", "prod"),
      drover("wait", "cluster/prod", "--for=phase=Available", "--timeout", "1s"),
    ]);
    expect([same.exitCode, differs.exitCode]).toEqual([0, 1]);
    expect(differs.stdout).toMatch(/^-.*213\.0\.250:6443\n\+.*213\.0\.251:6443$/m);
    expect(table.stdout).toMatch(/^NAME +PHASE +ENDPOINT +VERSION +READY +AGE\nprod .* 10\.213\.0\.250:6443 /);
    expect(described.stdout).toMatch(/^Cluster: +prod\nEndpoint: +10\.213\.0\.250:6443\nCA hashes: +sha256:0123/);
    expect(late).toMatchObject({ exitCode: 7, stderr: expect.stringContaining("next:  drover describe cluster prod") as string });
  });

  it("I6: are not adopted by a kubeconfig that leads nowhere, of which nothing is told or kept", async () => {
    const canary = "canary-7f3a9c51e2";
    const { caPem } = (parse(await readFile(site.contextFile, "utf8")) as ContextFile).contexts[0]!;
    const kubeconfig = async (name: string, ca: string): Promise<string> => {
      const path = join(site.bed.directory, name);
      const content = {
        apiVersion: "v1",
        kind: "Config",
        "current-context": "c",
        clusters: [
          { name: "c", cluster: { server: "https://127.0.0.1:9", "certificate-authority-data": Buffer.from(ca).toString("base64") } },
        ],
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        users: [{ name: "u", user: { token: canary } }],
      };
      await writeFile(path, stringify(content), { mode: 0o600 });
      return path;
    };
    const [nowhere, torn] = [await kubeconfig("nowhere", caPem), await kubeconfig("torn", canary)];
    const [adopted, refused, viewer] = await Promise.all([
      drover("--request-timeout", "60s", "cluster", "adopt", "elsewhere", "--kubeconfig", nowhere),
      drover("cluster", "adopt", "elsewhere", "--kubeconfig", torn),
      drover("--context", "vera", "cluster", "adopt", "elsewhere", "--kubeconfig", nowhere),
    ]);
    expect(adopted).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^error: ClusterUnreachable: [\s\S]*\nnext: {2}./) as string,
    });
    expect(refused).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/^error: InvalidKubeconfig: .*\nnext: {2}kubectl /) as string,
    });
    expect(viewer).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("role viewer may not call adoptCluster") as string });
    expect((await drover("get", "cluster", "elsewhere")).exitCode).toBe(5);
    const audit = (await drover("audit", "--limit", "1000")).stdout;
    const store = await readFile(join(site.dataDirectory, "store.db"), "latin1");
    const log = await readFile(site.coordinatorLogFile, "utf8");
    for (const text of [adopted, refused, viewer].flatMap(({ stdout, stderr }) => [stdout, stderr]).concat(audit, store, log)) {
      expect(text).not.toContain(canary);
      expect(text).not.toContain(Buffer.from(canary).toString("base64"));
    }
  });

  it("are joined again by one node at a time, which is shown and asked for first", async () => {
    await site.addMachine("kube-1", { role: "kube" });
    const set = nodeSet("kube", "kube", "kube") as { spec: object };
    const files = await site.manifest("kube", manifest("10.213.0.250:6443"), profile("kube", { "net.core.somaxconn": "2048" }), {
      ...set,
      spec: { ...set.spec, cluster: "prod" },
    });
    await site.mustDrover(["apply", "-f", files]);
    const rejoinOf = async (): Promise<number> => {
      const store = openSqliteStore(join(site.dataDirectory, "store.db"));
      try {
        const records = (await store.list("nodes/")).entries.map(({ value }) => JSON.parse(Buffer.from(value).toString()) as object);
        return (records.find((record) => "name" in record && record.name === "kube-1") as { rejoin?: number }).rejoin ?? 0;
      } finally {
        await store.close();
      }
    };
    await eventually("kube-1 has a plan", 60_000, async () => {
      const { stdout } = await drover("get", "node", "kube-1", "-o", "json");
      return (JSON.parse(stdout) as { status: { desiredGeneration: number } }).status.desiredGeneration > 0;
    });
    const words = [cliMain, "node", "rejoin", "kube-1"];
    const atTerminal = (input: string) =>
      site.bed.run("script", ["-qec", [nodeProgram, ...words].join(" "), "/dev/null"], {
        env: { DROVER_CONFIG: site.contextFile },
        input,
      });
    const [unasked, refused] = [await drover("node", "rejoin", "kube-1"), await atTerminal("n\n")];
    expect(unasked).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/no terminal; nothing was changed\nnext: .*--yes/) as string,
    });
    expect(unasked.stdout).toMatch(
      /^1 node will be reset[\s\S]*node: +kube-1 \(\w{10}\)[\s\S]*set: +kube, 1 node\n[\s\S]*cluster: +prod[\s\S]*budget: +1 may/,
    );
    expect(refused).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/\[y\/N\][\s\S]*not confirmed; nothing was changed/) as string,
    });
    expect(await rejoinOf()).toBe(0);
    expect(await atTerminal("y\n")).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("asked for 1 times") as string });
    const sure = await drover("node", "rejoin", "kube-1", "--yes");
    expect(sure).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("watch it: drover rollout status kube-1") as string });
    expect(await rejoinOf()).toBe(2);
    const none = await Promise.all([
      drover("node", "rejoin", "nobody", "--yes"),
      drover("node", "rejoin", "web-1", "--yes"),
      drover("--context", "vera", "node", "rejoin", "kube-1", "--yes"),
    ]);
    expect(none.map(({ exitCode }) => exitCode)).toEqual([5, 6, 4]);
    expect(none[1].stderr).toMatch(/nodeset\/web of node\/web-1 names no cluster[\s\S]*next: {2}drover get nodeset web/);
    expect((await drover("audit", "--limit", "1000")).stdout).toMatch(
      /operator:admin +RejoinNode +Node\/kube-1 +ok +cluster prod, rejoin 2/,
    );
  });
});

describe("delete and completion", () => {
  it("deletes what nobody uses, after a dry run that does not", async () => {
    const spare = await site.manifest("spare", profile("spare", { "net.core.somaxconn": "1024" }));
    await site.mustDrover(["apply", "-f", spare]);
    expect(await drover("delete", "-f", spare, "--dry-run=server")).toMatchObject({ exitCode: 0 });
    expect((await drover("get", "nodeprofile", "spare")).exitCode).toBe(0);
    const waiting = drover("wait", "nodeprofile/spare", "--for=delete");
    expect(await drover("delete", "-f", spare)).toMatchObject({ exitCode: 0, stdout: "nodeprofile/spare deleted" });
    expect((await waiting).exitCode).toBe(0);
    expect((await drover("get", "nodeprofile", "spare")).exitCode).toBe(5);
  });

  it("writes completion scripts that shells can read", async () => {
    const [bash, zsh, fish] = await Promise.all(["bash", "zsh", "fish"].map((shell) => site.mustDrover(["completion", shell])));
    const sourced = await site.bed.run("bash", ["--norc", "-c", 'eval "$(cat)"; complete -p drover'], { input: bash! });
    expect(sourced).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("drover") as string, stderr: "" });
    expect(zsh).toContain("compdef");
    expect(fish).toContain("complete -c drover");
    expect(await site.mustDrover(["complete", "--", "get", "no"])).toMatch(/^nodes\t?/m);
    expect(await site.mustDrover(["complete", "--", "describe", "cl"])).toMatch(/^clusters\t?/m);
    expect(await site.mustDrover(["complete", "--", "cluster", ""])).toMatch(/^adopt\t?/m);
    expect(await site.mustDrover(["complete", "--", "node", "re"])).toMatch(/^rejoin\t?/m);
  });
});
