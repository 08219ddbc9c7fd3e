/** `drover context list | use NAME`. */
import { contextFilePath, readContextFile, useContext } from "../context/context-file.ts";
import { table } from "../output/table.ts";
import type { Session } from "../session.ts";

export function listContexts(session: Session): void {
  const file = readContextFile(contextFilePath(session.environment));
  session.print(
    table(
      ["CURRENT", "NAME", "ENDPOINT"],
      file.contexts.map((context) => [context.name === file.currentContext ? "*" : "", context.name, context.endpoint]),
    ),
  );
}

export function switchContext(session: Session, name: string): void {
  useContext(contextFilePath(session.environment), name);
  session.print(`context is now ${name}`);
}
