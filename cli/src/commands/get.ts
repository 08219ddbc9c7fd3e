/** `drover get KIND [NAME] [-l SELECTOR] [-o FORMAT] [-w]`. */
import type { DroverObject } from "@drover/api";
import { WatchEventType } from "@drover/proto";
import { type OutputFormat, printObjects } from "../output/print-objects.ts";
import { decodeObject, kindFrom, type Session } from "../session.ts";
import { CliError, exitCodes } from "../cli-error.ts";

export interface GetOptions {
  readonly selector: string;
  readonly output: OutputFormat;
  readonly isWatching: boolean;
}

export async function get(session: Session, words: readonly string[], options: GetOptions): Promise<void> {
  const [first = "", second] = words;
  const [kindText, name] = first.includes("/") ? (first.split("/", 2) as [string, string]) : [first, second];
  const kind = kindFrom(kindText);
  if (name !== undefined && options.selector !== "") throw new CliError(exitCodes.usage, "a name and --selector exclude each other");
  const connection = session.connect();
  if (options.isWatching) {
    await watch(session, kind, name ?? "", options);
    return;
  }
  if (name !== undefined) {
    const { object } = await connection.call("getObject", { kind, name });
    session.print(printObjects(kind, [decodeObject(object)], options.output, false, session.nowMs()));
    return;
  }
  const { objects } = await connection.call("listObjects", { kind, labelSelector: options.selector });
  if (objects.length === 0 && (options.output === "table" || options.output === "wide")) {
    session.warn(`no ${kind} found${options.selector === "" ? "" : ` for ${options.selector}`}`);
    return;
  }
  session.print(printObjects(kind, objects.map(decodeObject), options.output, true, session.nowMs()));
}

/** The present state as a table, then a row for each change. */
async function watch(session: Session, kind: ReturnType<typeof kindFrom>, name: string, options: GetOptions): Promise<void> {
  const initial: DroverObject[] = [];
  let isLive = false;
  let hasHeader = false;
  const isTable = options.output === "table" || options.output === "wide";
  /** A table grows by rows; of JSON, YAML and names each object is a document of its own, as kubectl does it. */
  const show = (objects: readonly DroverObject[], isGone: boolean): void => {
    for (const group of isTable ? [objects] : objects.map((object) => [object])) {
      const lines = printObjects(kind, group, options.output, false, session.nowMs()).split("\n");
      const shown = isTable && hasHeader ? lines.slice(1) : lines;
      if (options.output === "yaml" && hasHeader) session.print("---");
      hasHeader = true;
      const isMarked = isGone && options.output !== "json" && options.output !== "yaml";
      session.print(isMarked ? `${shown.join("\n")}   (deleted)` : shown.join("\n"));
    }
  };
  const request = { kind, labelSelector: options.selector, name, fromRevision: 0 };
  for await (const event of session.connect().stream("watchObjects", request, session.signal)) {
    if (event.type === WatchEventType.WATCH_EVENT_TYPE_BOOKMARK) {
      if (!isLive && initial.length > 0) show(initial, false);
      isLive = true;
    } else if (!isLive) {
      initial.push(decodeObject(event.object));
    } else {
      show([decodeObject(event.object)], event.type === WatchEventType.WATCH_EVENT_TYPE_DELETED);
    }
  }
}
