/** `drover delete KIND NAME` or `-f FILE`. */
import { DryRunMode } from "@drover/proto";
import { type Session, targetFrom } from "../session.ts";
import { readManifests } from "./manifests.ts";

export async function deleteObjects(
  session: Session,
  words: readonly string[],
  paths: readonly string[],
  isServerDryRun: boolean,
): Promise<void> {
  const targets =
    paths.length > 0
      ? (await readManifests(session, paths)).map(({ object }) => ({ kind: object.kind, name: object.metadata.name })).reverse()
      : [targetFrom(words)];
  for (const { kind, name } of targets) {
    await session.connect().call("deleteObject", {
      kind,
      name,
      expectedResourceVersion: 0,
      dryRun: isServerDryRun ? DryRunMode.DRY_RUN_MODE_SERVER : DryRunMode.DRY_RUN_MODE_NONE,
    });
    session.print(`${kind.toLowerCase()}/${name} deleted${isServerDryRun ? " (server dry run)" : ""}`);
  }
}
