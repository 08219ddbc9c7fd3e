/** `drover diff -f FILE`: what apply would change in the stored objects. 0 same, 1 differs, 2 and more error, as kubectl. */
import type { DroverObject } from "@drover/api";
import { DryRunMode } from "@drover/proto";
import { createTwoFilesPatch } from "diff";
import { stringify } from "yaml";
import { CliError, exitCodes } from "../cli-error.ts";
import { decodeObject, type Session } from "../session.ts";
import { readManifests } from "./manifests.ts";

/** @returns whether anything differs */
export async function diff(session: Session, paths: readonly string[]): Promise<boolean> {
  const manifests = await readManifests(session, paths);
  const connection = session.connect();
  let differs = false;
  for (const { object } of manifests) {
    const { kind } = object;
    const { name } = object.metadata;
    const live = await connection.call("getObject", { kind, name }).catch((error: unknown) => {
      if (error instanceof CliError && error.exitCode === exitCodes.notFound) return undefined;
      throw error;
    });
    const merged = await connection.call("applyObject", {
      json: Buffer.from(JSON.stringify(object)),
      dryRun: DryRunMode.DRY_RUN_MODE_SERVER,
      expectedResourceVersion: 0,
    });
    const before = live === undefined ? "" : intent(decodeObject(live.object));
    const after = intent(decodeObject(merged.object));
    if (before === after) continue;
    differs = true;
    session.print(createTwoFilesPatch(`live/${kind}/${name}`, `merged/${kind}/${name}`, before, after).trimEnd());
  }
  return differs;
}

/** What an operator decides: no status, nothing that the coordinator gives. */
function intent(object: DroverObject): string {
  const { name, labels, annotations } = object.metadata;
  return stringify(
    {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { name, ...(labels && { labels }), ...(annotations && { annotations }) },
      spec: object.spec,
    },
    { sortMapEntries: true },
  );
}
