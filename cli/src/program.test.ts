import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeSession, runProgram } from "./index.ts";

let folder: string;
let environment: NodeJS.ProcessEnv;
let unreachable: NodeJS.ProcessEnv;
const good = `apiVersion: drover.dev/v1alpha1
kind: NodeProfile
metadata: { name: web }
spec:
  sysctl: { values: { net.core.somaxconn: 4096 } }
`;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-cli-"));
  mkdirSync(join(folder, "bare"));
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  write("good.yaml", good);
  write("typo.yaml", good.replace("sysctl:", "sysctrl:"));
  write("broken.yaml", "apiVersion: [\n");
  write("kind.yaml", good.replace("NodeProfile", "NodeProfil"));
  write("denied.yaml", good.replace("net.core.somaxconn: 4096", 'kernel.core_pattern: "|/bin/sh"'));
  write("empty.yaml", "\n");
  write("selector.yaml", "apiVersion: drover.dev/v1alpha1\nkind: NodeSet\nmetadata: { name: web }\nspec: { selector: {}, profile: web }\n");
  write("no-contexts.yaml", "currentContext: a\n");
  write("bad-context.yaml", "contexts:\n  - name: a\n    endpoint: nowhere\n    caPem: x\n    certificatePem: x\n    keyPem: x\n");
  const kubeconfig = "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers:\n- { name: a, user: { token: canary } }\n";
  write("kubeconfig", kubeconfig);
  write("kubeconfig-torn", `${kubeconfig}canary: [ *canary\n`);
  write("kubeconfig-large", `${kubeconfig}# ${"a".repeat(65_536)}\n`);
  write("kubeconfig-list", "- canary\n");
  write("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: { name: canary }\n");
  write(
    "cluster.yaml",
    "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: { name: prod }\nspec: { endpoint: 10.0.0.5, caCertHashes: [] }\n",
  );
  write("unparsable.yaml", "contexts: [\n");
  const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  write(
    "config.yaml",
    JSON.stringify({
      currentContext: "a",
      contexts: [{ name: "a", endpoint: "127.0.0.1:1", caPem: pem, certificatePem: pem, keyPem: pem }],
    }),
  );
  environment = { DROVER_CONFIG: join(folder, "config.yaml") };
  unreachable = { DROVER_CONFIG: join(folder, "missing.yaml") };
});
afterAll(() => rmSync(folder, { recursive: true }));

async function run(argv: readonly string[], env = environment): Promise<{ exitCode: number; output: string; errors: string }> {
  let output = "";
  let errors = "";
  const exitCode = await runProgram(
    argv.map((word) => word.replace("FOLDER", folder)),
    (options) => ({
      ...makeSession(options, env, new AbortController().signal),
      print: (text) => {
        output += `${text}\n`;
      },
      warn: (text) => {
        errors += `${text}\n`;
      },
      readStdin: async () => good,
      ask: async () => undefined,
    }),
    (text) => {
      errors += text;
    },
  );
  return { exitCode, output, errors };
}

describe("bad input to the command line", () => {
  const cases: readonly [title: string, argv: string[], exitCode: number, says: RegExp, env?: () => NodeJS.ProcessEnv][] = [
    ["an unknown command", ["aply"], 2, /unknown command 'aply'[\s\S]*apply/],
    ["an unknown option", ["get", "nodes", "--al"], 2, /unknown option '--al'/],
    ["a missing argument", ["get"], 2, /missing required argument 'kind'/],
    ["too many arguments", ["get", "nodes", "a", "b"], 2, /too many arguments/],
    ["an unknown kind", ["get", "pods"], 2, /no kind 'pods'[\s\S]*nodesets/],
    ["an unknown output format", ["get", "nodes", "-o", "xml"], 2, /Allowed choices are table, wide, json, yaml, name/],
    ["a selector that is none", ["get", "nodes", "-l", "a in"], 2, /is no requirement/],
    ["an empty selector", ["get", "nodes", "-l", ""], 2, /an empty selector is an error/],
    ["a name together with a selector", ["get", "node", "a", "-l", "b=c"], 2, /exclude each other/],
    ["a duration that is none", ["wait", "node/a", "--for=condition=InSync", "--timeout", "soon"], 2, /must be a duration/],
    ["a goal that is none", ["wait", "node/a", "--for=happiness"], 2, /is no goal[\s\S]*condition=InSync/],
    ["a wait for no object", ["wait", "node", "--for=delete"], 2, /does not name one object/],
    ["a label that is none", ["token", "create", "--label", "zone"], 2, /is not KEY=VALUE/],
    ["a limit that is no number", ["audit", "--limit", "many"], 2, /whole number/],
    ["apply without a file", ["apply"], 2, /-f FILE is needed/],
    ["a file that is not there", ["apply", "-f", "FOLDER/none.yaml"], 2, /none\.yaml: no such file/],
    ["a folder without manifests", ["apply", "-f", "FOLDER/bare"], 2, /bare has no \.yaml/],
    ["YAML that does not parse", ["apply", "-f", "FOLDER/broken.yaml"], 2, /broken\.yaml:2:1: /],
    ["a misspelt field", ["apply", "-f", "FOLDER/typo.yaml"], 2, /typo\.yaml:5:3: [\s\S]*sysctrl/],
    ["a misspelt kind", ["apply", "-f", "FOLDER/kind.yaml"], 2, /kind\.yaml:2:7: [\s\S]*NodeProfile/],
    ["a sysctl that runs programs", ["apply", "-f", "FOLDER/denied.yaml"], 2, /denied\.yaml:5:\d+: [\s\S]*core_pattern/],
    ["an empty manifest", ["apply", "-f", "FOLDER/empty.yaml"], 2, /no object|empty/],
    ["a set that selects all by selecting nothing", ["apply", "-f", "FOLDER/selector.yaml"], 2, /selector\.yaml:4:\d+: [\s\S]*empty/],
    ["a cluster without its kubeconfig", ["cluster", "adopt", "prod"], 2, /required option '--kubeconfig <file>'/],
    [
      "a kubeconfig without a cluster's name",
      ["cluster", "adopt", "--kubeconfig", "FOLDER/kubeconfig"],
      2,
      /missing required argument 'name'/,
    ],
    ["a cluster's name that is none", ["cluster", "adopt", "Prod_1", "--kubeconfig", "FOLDER/kubeconfig"], 2, /'Prod_1' is no name/],
    [
      "an endpoint without a port",
      ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/kubeconfig", "--endpoint", "10.0.0.5"],
      2,
      /must be host:port, such as 10\.0\.0\.5:6443/,
    ],
    [
      "an endpoint that is a URL",
      ["cluster", "adopt", "p", "--kubeconfig", "-", "--endpoint", "https://10.0.0.5:6443"],
      2,
      /must be host:port/,
    ],
    [
      "a kubeconfig that is not there",
      ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/none"],
      2,
      /none: no such file[\s\S]*--flatten/,
    ],
    ["a kubeconfig that is a folder", ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/bare"], 2, /bare is a folder/],
    ["a kubeconfig that is empty", ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/empty.yaml"], 2, /empty\.yaml is empty/],
    [
      "a kubeconfig that is torn",
      ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/kubeconfig-torn"],
      2,
      /kubeconfig-torn:\d+:\d+: is no YAML/,
    ],
    [
      "a kubeconfig that is too large",
      ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/kubeconfig-large"],
      2,
      /of at most 65536 is taken/,
    ],
    [
      "a kubeconfig that is a list",
      ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/kubeconfig-list"],
      2,
      /is no kubeconfig: kind Config/,
    ],
    ["a kubeconfig that is a pod", ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/pod.yaml"], 2, /pod\.yaml is no kubeconfig/],
    ["a manifest for a kubeconfig on standard input", ["cluster", "adopt", "prod", "--kubeconfig", "-"], 2, /<stdin> is no kubeconfig/],
    [
      "a kubeconfig, but no context",
      ["cluster", "adopt", "prod", "--kubeconfig", "FOLDER/kubeconfig"],
      4,
      /does not exist/,
      () => unreachable,
    ],
    ["a misspelt verb of clusters", ["cluster", "adpot", "prod"], 2, /unknown command 'adpot'[\s\S]*adopt/],
    ["a Cluster that is not valid", ["apply", "-f", "FOLDER/cluster.yaml"], 2, /cluster\.yaml:4:\d+: [\s\S]*host:port/],
    ["a rejoin of no node", ["node", "rejoin"], 2, /missing required argument 'node'/],
    ["a rejoin of two nodes", ["node", "rejoin", "a", "b", "--yes"], 2, /too many arguments/],
    ["a rejoin of all nodes of a kind", ["node", "rejoin", "-l", "a=b"], 2, /unknown option '-l'/],
    ["a rejoin without a context", ["node", "rejoin", "a", "--yes"], 4, /does not exist/, () => unreachable],
    ["a plan of nothing", ["rollout", "plan"], 2, /NodeSets by name, or manifests with -f/],
    ["a plan of a file that is not valid", ["rollout", "plan", "-f", "FOLDER/typo.yaml"], 2, /typo\.yaml:5:3: /],
    ["a misspelt verb of rollouts", ["rollout", "puase", "web-1"], 2, /unknown command 'puase'[\s\S]*pause/],
    ["a pause of all rollouts", ["rollout", "pause"], 2, /missing required argument 'name'/],
    ["a count that is none", ["rollout", "resume", "web-1", "--nodes", "all"], 2, /whole number/],
    ["an approval of no wave", ["rollout", "approve", "web-1"], 2, /--wave <number>' not specified/],
    ["an approval of wave 0", ["rollout", "approve", "web-1", "--wave", "0"], 2, /whole number above 0/],
    ["a history of no set", ["rollout", "history"], 2, /missing required argument 'set'/],
    ["a repair of nothing", ["repair"], 2, /nodes by name, or a selector with -l, are needed/],
    ["a repair of names and a selector", ["repair", "a", "-l", "b=c"], 2, /exclude each other/],
    ["a repair of an empty selector", ["repair", "-l", ""], 2, /an empty selector is an error/],
    ["a rung that is none", ["repair", "a", "--rung", "Pray"], 2, /Allowed choices are RestartUnits, Reapply/],
    ["a drain without an end", ["node", "drain", "a", "--deadline", "never"], 2, /must be a duration/],
    ["a cordon of no node", ["node", "cordon"], 2, /missing required argument 'node'/],
    ["a reboot by selector", ["node", "reboot", "-l", "a=b"], 2, /unknown option '-l'/],
    ["support over a file that is there", ["node", "support", "a", "-o", "FOLDER/good.yaml"], 4, /cannot be used/],
    ["status without a context", ["status"], 4, /does not exist/, () => unreachable],
    ["diff of a file that is not there", ["diff", "-f", "FOLDER/none.yaml"], 2, /no such file/],
    ["no context file", ["get", "nodes"], 4, /missing\.yaml does not exist[\s\S]*operator create/, () => unreachable],
    [
      "a context file without contexts",
      ["get", "nodes"],
      2,
      /no-contexts\.yaml:1:1: has no list 'contexts'/,
      () => ({ DROVER_CONFIG: join(folder, "no-contexts.yaml") }),
    ],
    [
      "a context with a wrong endpoint",
      ["get", "nodes"],
      2,
      /bad-context\.yaml:3:15: .*host:port/,
      () => ({ DROVER_CONFIG: join(folder, "bad-context.yaml") }),
    ],
    [
      "a context file that does not parse",
      ["get", "nodes"],
      2,
      /unparsable\.yaml:2:1: /,
      () => ({ DROVER_CONFIG: join(folder, "unparsable.yaml") }),
    ],
    ["a context that is not there", ["--context", "b", "get", "nodes"], 2, /no context is called 'b'[\s\S]*there are: a/],
    ["a certificate that is none", ["get", "nodes"], 4, /context 'a' cannot be used/],
  ];
  it.each(cases)("%s is refused with the right exit code", async (_title, argv, exitCode, says, env) => {
    const result = await run(argv, env?.());
    expect(result.errors).toMatch(says);
    expect(result.exitCode).toBe(exitCode);
    expect(result.output).toBe("");
    expect(result.errors).not.toContain("canary");
  });

  it("warns of a kubeconfig that others can read, and not of one that they cannot", async () => {
    const path = join(folder, "kubeconfig");
    const adopt = ["cluster", "adopt", "prod", "--kubeconfig", path];
    chmodSync(path, 0o640);
    expect((await run(adopt)).errors).toMatch(/^warning: .*kubeconfig can be read by others/);
    chmodSync(path, 0o600);
    expect((await run(adopt)).errors).not.toContain("warning");
  });
});

describe("what needs no coordinator", () => {
  it("checks manifests from standard input in a client dry run", async () => {
    expect(await run(["apply", "-f", "-", "--dry-run=client"], unreachable)).toMatchObject({
      exitCode: 0,
      output: "nodeprofile/web valid (client dry run)\n",
    });
  });

  it("lists contexts and switches between them, keeping the file private", async () => {
    const path = join(folder, "two.yaml");
    const context = { endpoint: "h:1", caPem: "x", certificatePem: "x", keyPem: "secret" };
    writeFileSync(
      path,
      JSON.stringify({
        currentContext: "a",
        contexts: [
          { ...context, name: "a" },
          { ...context, name: "b" },
        ],
      }),
      { mode: 0o644 },
    );
    const env = { DROVER_CONFIG: path };
    expect((await run(["context", "use", "b"], env)).exitCode).toBe(0);
    expect((await run(["context", "list"], env)).output).toMatch(/\* +b +h:1/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect((await run(["context", "use", "c"], env)).exitCode).toBe(2);
    expect(readFileSync(path, "utf8")).toContain("currentContext: b");
    expect((await run(["context", "list"], env)).output).not.toContain("secret");
  });
});
