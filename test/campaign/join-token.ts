/** Many concurrent claims of one join token on a real coordinator that is killed and started again meanwhile: exactly one wins. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { seededRandom, systemClock } from "@drover/lifecycle";
import { dataFiles } from "../../coordinator/src/data-files.ts";
import type { NodeRecord } from "../../coordinator/src/records.ts";
import { keys } from "../../coordinator/src/store/keys.ts";
import { openSqliteStore } from "../../coordinator/src/store/sqlite-store.ts";
import { readJson } from "../../coordinator/src/store/values.ts";
import { eventually } from "../testbed/program.ts";
import { nodeProgram, Site } from "../testbed/site.ts";
import type { Campaign, CampaignResult } from "./campaign.ts";
import { pause } from "./coordinator-kill-faults.ts";

/** waitedFor: why each try before the last had no word. */
export type ClaimEnding =
  | { readonly kind: "won"; readonly nodeId: string; readonly waitedFor: readonly string[] }
  | { readonly kind: "refused"; readonly reason: string; readonly waitedFor: readonly string[] }
  | { readonly kind: "failed"; readonly message: string };

/** What join-token-claims.ts writes. */
export interface ClaimResults {
  readonly claims: readonly ClaimEnding[];
  /** Absent: nobody won. */
  readonly afterwards?: {
    /** The winner with all it sent before. */
    readonly again: ClaimEnding;
    /** The winner's nonce with another key. */
    readonly otherKey: ClaimEnding;
    /** The winner's key with another nonce. */
    readonly otherNonce: ClaimEnding;
  };
}

const claimsProgram = new URL("./join-token-claims.ts", import.meta.url).pathname;
/** Of the claims, at most so many have their word when the coordinator is killed. */
const KILL_AT_SHARE = 0.5;

export const joinToken: Campaign = {
  name: "join-token",
  summary:
    "concurrent claims of one join token, the coordinator killed and started again meanwhile: exactly one wins, and it may ask again",
  fullCount: 1000,
  async run({ count, seed, say }): Promise<CampaignResult> {
    const random = seededRandom(seed);
    await using site = await Site.make();
    const file = (name: string): string => join(site.bed.directory, name);
    await writeFile(file("token.json"), await site.mustDrover(["token", "create", "-o", "json"]), { mode: 0o600 });
    const program = await site.bed.spawn(
      nodeProgram,
      [claimsProgram, file("token.json"), String(count), file("results.json")],
      file("claims.log"),
    );
    await eventually("all claims are under way", 120_000, async () => (await program.log()).includes("claiming"));
    const answers = Math.floor(random.unit() * KILL_AT_SHARE * count);
    // Looked at often: all is over in a second or two.
    while ((await program.log()).split("answered").length <= answers) await pause(5);
    site.coordinator.signal("SIGKILL");
    await site.coordinator.ended;
    await site.startCoordinator();
    await program.ended;
    const text = await readFile(file("results.json"), "utf8").catch(() => undefined);
    if (text === undefined) {
      say(`the claims ended without a result: ${await program.log()}`);
      return { passed: 0, failed: count };
    }
    const results = JSON.parse(text) as ClaimResults;
    const objects = (await site.mustDrover(["get", "nodes", "-o", "name"])).split("\n").filter((line) => line !== "");
    await site.coordinator.stop();
    const records = await nodeRecords(dataFiles(site.dataDirectory).store);
    say(`killed after ${answers} answers`);
    return judge(results, objects, records, say);
  },
};

async function nodeRecords(path: string): Promise<readonly NodeRecord[]> {
  const store = openSqliteStore(path, { clock: systemClock });
  try {
    const { entries } = await store.list(keys.nodes);
    return entries.map((entry) => readJson(entry) as NodeRecord);
  } finally {
    await store.close();
  }
}

function judge(
  { claims, afterwards }: ClaimResults,
  objects: readonly string[],
  records: readonly NodeRecord[],
  say: (line: string) => void,
): CampaignResult {
  const winners = claims.filter((claim) => claim.kind === "won");
  const wrong = claims.filter((claim) => claim.kind === "failed" || (claim.kind === "refused" && claim.reason !== "TokenUsed"));
  for (const claim of wrong.slice(0, 10)) say(`a claim ended wrongly: ${JSON.stringify(claim)}`);
  const whole: string[] = [];
  const [winner] = winners;
  if (winners.length !== 1) whole.push(`${winners.length} claims won: ${winners.map(({ nodeId }) => nodeId).join(", ")}`);
  if (records.length !== 1 || records[0]?.nodeId !== winner?.nodeId)
    whole.push(`the store has node records ${records.map(({ nodeId }) => nodeId).join(", ") || "none"}, the winner is ${winner?.nodeId}`);
  if (objects.length !== 1) whole.push(`there are ${objects.length} Node objects: ${objects.join(", ")}`);
  if (afterwards !== undefined) {
    const { again, otherKey, otherNonce } = afterwards;
    if (again.kind !== "won" || again.nodeId !== winner?.nodeId) whole.push(`the winner asked again: ${JSON.stringify(again)}`);
    for (const [thief, ending] of Object.entries({ otherKey, otherNonce })) {
      if (ending.kind !== "refused") whole.push(`${thief} was not refused: ${JSON.stringify(ending)}`);
    }
  }
  for (const sentence of whole) say(sentence);
  const waits = claims.flatMap((claim) => (claim.kind === "failed" ? [] : claim.waitedFor));
  const reasons = [...new Set(waits)].map((reason) => `${waits.filter((one) => one === reason).length} ${reason}`);
  const at = winner === undefined ? "" : ` at try ${winner.waitedFor.length + 1}`;
  const again = reasons.length === 0 ? "nobody asked again" : `asked again after ${reasons.join(", ")}`;
  say(`${winners.length} won${at}, ${claims.length - winners.length - wrong.length} refused; ${again}`);
  // One winner too many, or none, makes the claim itself worthless: no single claim is to blame.
  return whole.length > 0 ? { passed: 0, failed: claims.length } : { passed: claims.length - wrong.length, failed: wrong.length };
}
