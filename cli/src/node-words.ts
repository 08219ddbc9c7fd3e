/** The words and options of `drover node` and `drover repair`. */
import { type Command, Option } from "commander";
import { collectSupport, maintainNode, rebootNode } from "./commands/node-maintenance.ts";
import { rejoinNode } from "./commands/node-rejoin.ts";
import { revokeNode } from "./commands/node-revoke.ts";
import { cancelRepair, repair } from "./commands/repair.ts";
import { durationOption, selectorFlag, wholeNumber } from "./options.ts";
import type { Session } from "./session.ts";

const RUNGS = ["RestartUnits", "Reapply", "Repull", "Rejoin", "Reboot", "HandOver"];

export function addNodeWords(program: Command, session: () => Session): void {
  const node = program.command("node").description("single nodes");
  node
    .command("cordon <node>")
    .description("let its cluster schedule nothing new on it")
    .addOption(reason())
    .action((name: string, options: { reason: string }) => maintainNode(session(), "cordon", bare(name), { ...options, deadlineMs: 0 }));
  node
    .command("drain <node>")
    .description("cordon it and evict its pods, as PodDisruptionBudgets let it; it counts as unavailable until uncordon")
    .addOption(
      new Option("--deadline <duration>", "how long it may take; then it is uncordoned").argParser(durationOption).default(600_000, "10m"),
    )
    .addOption(reason())
    .action((name: string, options: { reason: string; deadline: number }) =>
      maintainNode(session(), "drain", bare(name), { reason: options.reason, deadlineMs: options.deadline }),
    );
  node
    .command("uncordon <node>")
    .description("end what cordon or drain began")
    .addOption(reason())
    .action((name: string, options: { reason: string }) => maintainNode(session(), "uncordon", bare(name), { ...options, deadlineMs: 0 }));
  node
    .command("reboot <node>")
    .description("boot it again within the budget of its set: a repair with that one rung; asks")
    .option("-y, --yes", "do not ask", false)
    .addOption(reason())
    .action((name: string, options: { reason: string; yes: boolean }) => rebootNode(session(), bare(name), options.reason, options.yes));
  node
    .command("support <node>")
    .description("evidence about it as a gzipped tar archive: journal tails, differences of configuration, disks, conditions")
    .option("-o, --output <file>", "where it goes; left out: drover-support-NODE.tar.gz here", "")
    .option("--evidence <id>", "the bundle of a repair's attempt, as `drover describe repair` shows it; left out: gathered now", "")
    .action((name: string, options: { output: string; evidence: string }) =>
      collectSupport(session(), bare(name), options.evidence, options.output || `drover-support-${bare(name).replaceAll("/", "_")}.tar.gz`),
    );
  node
    .command("revoke <node>")
    .description("end a node's certificate and NATS credential, for good")
    .requiredOption("--reason <text>", "why; written into the audit record")
    .action((name: string, options: { reason: string }) => revokeNode(session(), bare(name), options.reason));
  node
    .command("rejoin <node>")
    .description("reset a node and let it join its cluster again, within the budget of its set; shows what it will do and asks")
    .option("-y, --yes", "do not ask", false)
    .action((name: string, options: { yes: boolean }) => rejoinNode(session(), bare(name), options.yes));

  const repairs = program
    .command("repair [nodes...]")
    .description("repair nodes rung by rung, with evidence before and a check after each; shows how many and which rungs, and asks")
    .addOption(selectorFlag())
    .addOption(new Option("--rung <rung...>", "tried one after the other; left out: as the node's set says").choices(RUNGS).default([]))
    .option("--unit <unit...>", "what RestartUnits restarts", [])
    .addOption(reason())
    .option("--dry-run", "show it only", false)
    .option("--nodes <count>", "how many nodes you believe it to be; instead of being asked", wholeNumber, 0)
    .option("-y, --yes", "do not ask; of nodes that are named", false)
    .action(
      (
        names: string[],
        options: { selector: string; rung: string[]; unit: string[]; reason: string; dryRun: boolean; nodes: number; yes: boolean },
      ) =>
        repair(session(), names, {
          selector: options.selector,
          rungs: options.rung,
          units: options.unit,
          reason: options.reason,
          isDryRun: options.dryRun,
          confirmedNodes: options.nodes,
          isSure: options.yes,
        }),
    );
  repairs
    .command("cancel <name>")
    .description("begin no further rung of a repair")
    .action((name: string) => cancelRepair(session(), name));
}

function bare(name: string): string {
  return name.replace(/^node\//, "");
}

function reason(): Option {
  return new Option("--reason <text>", "why; written into the audit record").default("");
}
