/** `npm run quickstart -- --machines`: booted machines become nodes of a real Kubernetes cluster, where the binaries of one are at hand. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { JoinStage } from "../e2e/join/stage.ts";
import { playJoinStory } from "../e2e/join/story.ts";
import { requireKubernetesBinaries } from "../testbed/roots/kubernetes-binaries.ts";
import { keep } from "./keep.ts";
import type { Narrator } from "./narrator.ts";

const setUp = fileURLToPath(new URL("../support/set-up.sh", import.meta.url));

/** @throws when a claim does not hold, or the Kubernetes binaries are not there */
export async function tellOfMachines(tell: Narrator, options: { readonly keep: boolean }): Promise<void> {
  await requireKubernetesBinaries();
  if (spawnSync("sh", [setUp, "machines"], { stdio: "inherit" }).status !== 0) throw new Error("what machines need could not be installed");
  tell.chapter("A coordinator, a registry, and a Kubernetes cluster made by hand in a booted machine");
  tell.say("the machines' root file system is built once, which takes minutes; it is kept in /var/cache/drover-testbed");
  await using stage = await JoinStage.make({ intervals: { driftScan: "30s", poll: "30s" } }, (line) => tell.say(line));
  await playJoinStory(stage, ["web-1", "web-2"], {
    chapter: (title) => tell.chapter(title),
    claim: (sentence, holds) => tell.claim(sentence, holds),
    show: async (words) => {
      const { exitCode } = await tell.show(stage.site, words);
      if (exitCode !== 0) throw new Error(`drover ${words.join(" ")} ended with ${exitCode}`);
    },
  });
  tell.end();
  if (options.keep) await keep(stage.site, tell);
}
