/** The words and options of `drover rollout`. */
import { type Command, Option } from "commander";
import { approveRollout } from "./commands/rollout-approve.ts";
import { controlRollout, type Verb } from "./commands/rollout-control.ts";
import { rolloutHistory } from "./commands/rollout-history.ts";
import { rolloutPlan } from "./commands/rollout-plan.ts";
import { rolloutStatus } from "./commands/rollout-status.ts";
import { durationOption, manifestFiles, wholeNumber } from "./options.ts";
import type { Session } from "./session.ts";

const VERBS: readonly (readonly [verb: Verb, description: string])[] = [
  ["pause", "let nobody else begin; what is in change comes to its end"],
  ["promote", "do not wait for the running wave's soak"],
  ["abort", "let nobody else begin, for good; what is not confirmed yet is undone by its machine"],
  ["retry", "move the nodes again that failed"],
];

export function addRolloutWords(program: Command, session: () => Session): void {
  const rollout = program.command("rollout").description("follow and steer changes over a fleet");
  rollout
    .command("status <name>")
    .description("watch a rollout to its end; exit code 0 complete, 3 stopped or aborted, 7 timeout")
    .option("--no-watch", "show it once")
    .option("--progress", "also what the nodes say about their steps", false)
    .addOption(new Option("--timeout <duration>", "how long to watch").argParser(durationOption).default(3_600_000, "1h"))
    .action((name: string, options: { watch: boolean; progress: boolean; timeout: number }) =>
      rolloutStatus(session(), name.replace(/^rollout\//, ""), {
        isWatching: options.watch,
        hasProgress: options.progress,
        timeoutMs: options.timeout,
      }),
    );
  rollout
    .command("plan [sets...]")
    .description("what a rollout would disturb at most, wave by wave; asks no machine and changes nothing")
    .addOption(manifestFiles())
    .action((sets: string[], options: { filename: string[] }) => rolloutPlan(session(), sets, options.filename));
  rollout
    .command("history <set>")
    .description("the rollouts of a NodeSet, and who did what to them and why")
    .action((set: string) => rolloutHistory(session(), set));
  for (const [verb, description] of VERBS) {
    rollout
      .command(`${verb} <name>`)
      .description(description)
      .addOption(reason())
      .action((name: string, options: { reason: string }) =>
        controlRollout(session(), verb, name, { reason: options.reason, confirmedNodes: 0, isSure: true }),
      );
  }
  rollout
    .command("resume <name>")
    .description("go on with what was paused, or confirm how many nodes move at once where it is all of them")
    .option("--nodes <count>", "how many nodes you believe it to move; needed where maxUnavailable is 100%", wholeNumber, 0)
    .addOption(reason())
    .action((name: string, options: { nodes: number; reason: string }) =>
      controlRollout(session(), "resume", name, { reason: options.reason, confirmedNodes: options.nodes, isSure: true }),
    );
  rollout
    .command("undo <name>")
    .description("bring a NodeSet (or that of a Rollout) back to its last good revision and hold it there; shows how many and asks")
    .option("-y, --yes", "do not ask", false)
    .addOption(reason())
    .action((name: string, options: { yes: boolean; reason: string }) =>
      controlRollout(session(), "undo", name, { reason: options.reason, confirmedNodes: 0, isSure: options.yes }),
    );
  rollout
    .command("approve <name>")
    .description("let a wave begin that waits for an approver; without --digest it shows what would be approved and asks")
    .addOption(new Option("--wave <number>", "counted from 1").argParser(wholeNumber).makeOptionMandatory())
    .option("--digest <digest>", "of what you have seen, as status and this command show it", "")
    .addOption(reason())
    .action((name: string, options: { wave: number; digest: string; reason: string }) => approveRollout(session(), name, options));
}

function reason(): Option {
  return new Option("--reason <text>", "why; written into the audit record").default("");
}
