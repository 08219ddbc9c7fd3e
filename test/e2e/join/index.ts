/** Machines join a real cluster, and while they do no secret is anywhere but where it is meant to be. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Machine } from "../../testbed/machine.ts";
import { eventually } from "../../testbed/program.ts";
import { filesUnder, findings, secretsIn, watchProcesses } from "../../testbed/secret-watch.ts";
import { nodeProgram, type Site } from "../../testbed/site.ts";
import type { E2eScenario } from "../scenario.ts";
import { JoinStage } from "./stage.ts";
import { playJoinStory, type Teller } from "./story.ts";

const tapProgram = fileURLToPath(new URL("../../testbed/nats-tap.ts", import.meta.url));
const TAP = "nats-messages";
const LOOK_FOR_TOKENS_MS = 500;
/** Files that are meant to hold a secret: of the coordinator, of the operator, of an agent. */
const HOLDERS = [
  "coordinator/ca/ca-1.pem",
  "coordinator/nats-trust/nats-ca.key",
  "coordinator/nats-trust/nats-seeds.json",
  "coordinator/nats-trust/nats-server.key",
  "drover.yaml",
  "lab.kubeconfig",
];

export const joinScenario: E2eScenario = {
  name: "join",
  summary: "two bare machines enrol, are configured, preload and join a cluster made by hand; one is reset and joins again; canaries",
  isShort: true,
  async run(say) {
    await using stage = await JoinStage.make({}, say);
    const over = new AbortController();
    const processes = watchProcesses(over.signal);
    const tokens = watchTokens(stage, over.signal);
    await tapNats(stage.site);
    const story = playJoinStory(stage, ["web-1", "web-2"], tellerOf(stage.site, say));
    const machines = await story.finally(() => over.abort());
    await claimNoSecrets(stage, machines, await processes, await tokens, say);
  },
};

function tellerOf(site: Site, say: (line: string) => void): Teller {
  return {
    chapter: say,
    async claim(sentence, holds) {
      if (!(await holds())) throw new Error(`this does not hold: ${sentence}`);
      say(`holds: ${sentence}`);
    },
    async show(words) {
      await site.mustDrover(words, { timeoutMs: 600_000 });
    },
  };
}

/** Secret halves of the bootstrap tokens that were in the cluster at some time; tokens live for seconds. */
async function watchTokens(stage: JoinStage, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  while (!signal.aborted) {
    for (const { secret, nodeId } of await stage.bootstrapTokens()) if (nodeId !== undefined) seen.add(secret);
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_FOR_TOKENS_MS);
    });
  }
  return seen;
}

async function tapNats({ bed, dataDirectory }: Site): Promise<void> {
  const file = join(bed.directory, TAP);
  await bed.spawn(nodeProgram, [tapProgram, dataDirectory, bed.address, file], join(bed.directory, "nats-tap.log"));
  await eventually("NATS is listened to", 20_000, async () => (await readFile(file, "utf8").catch(() => "")).startsWith("listening"));
}

async function claimNoSecrets(
  stage: JoinStage,
  machines: readonly Machine[],
  processes: ReadonlyMap<string, string>,
  tokens: ReadonlySet<string>,
  say: (line: string) => void,
): Promise<void> {
  const { site } = stage;
  if (tokens.size < machines.length + 1) throw new Error(`only ${tokens.size} bootstrap tokens were seen: there is nothing to look for`);
  // The first machine is the cluster: its secrets are its own. What containerd keeps is images.
  const files = await filesUnder(
    site.bed.directory,
    (path) => path.startsWith("machines/cp-1/") || /^machines\/[^/]+\/(var-lib|upper\/var\/lib)\/containerd\//.test(path),
  );
  const holders = [...HOLDERS, ...[...files.keys()].filter((path) => path.endsWith("/drover-agent/identity.json"))];
  const secrets = new Map<string, string>();
  for (const { joinToken, name } of site.joinTokens) secrets.set(joinToken.split(".")[1]!, `the join token of ${name}`);
  for (const token of tokens) secrets.set(token, "a bootstrap token");
  for (const holder of holders) {
    for (const secret of secretsIn(files.get(holder) ?? "")) secrets.set(secret, holder);
  }
  // Keys in a kubeconfig are PEM in base64: both spellings.
  for (const [, base64 = ""] of stage.cluster.kubeconfig.matchAll(/client-key-data: (\S+)/g)) {
    secrets.set(base64.slice(40, 120), "the kubeconfig");
    for (const secret of secretsIn(Buffer.from(base64, "base64").toString())) secrets.set(secret, "the kubeconfig's key");
  }
  if (secrets.size < tokens.size + machines.length + 8) throw new Error(`only ${secrets.size} secrets to look for`);
  const elsewhere = new Map([...files].filter(([path]) => !holders.includes(path)));
  for (const machine of machines) {
    const journal = await machine.run("journalctl", ["--no-pager", "--output=cat"]);
    elsewhere.set(`the journal of ${machine.name}`, journal.stdout);
  }
  for (const place of ["coordinator.log", "coordinator/store.db", "coordinator/reports.db", TAP]) {
    if (!elsewhere.has(place)) throw new Error(`${place} was not looked into`);
  }
  const found = findings(new Map([...elsewhere, ...processes]), secrets);
  if (found.length > 0) throw new Error(`secrets where they must not be:\n${found.join("\n")}`);
  say(
    `holds: none of ${secrets.size} secrets is in any of ${elsewhere.size} files and journals, or in ${processes.size} processes' arguments and environments`,
  );
}
