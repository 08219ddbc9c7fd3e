/** `drover completion bash|zsh|fish`: kinds and formats complete; nothing is asked of the coordinator. */
import tab from "@bomb.sh/tab/commander";
import type { Command } from "commander";
import { kinds } from "@drover/api";

export function addCompletion(program: Command): void {
  const completion = tab(program, { completionCommandName: "completion" });
  for (const verb of ["get", "describe", "delete", "wait"]) {
    const argument = completion.commands.get(verb)?.arguments.get("kind");
    if (argument !== undefined) {
      argument.handler = (complete) => {
        for (const [kind, { plural }] of Object.entries(kinds)) complete(plural, kind);
      };
    }
  }
}
