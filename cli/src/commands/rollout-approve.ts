/** `drover rollout approve NAME --wave N [--digest D]`: lets a wave begin. Without the digest it shows what would be approved, and asks. */
import type { Rollout } from "@drover/api";
import type { RolloutForecast } from "@drover/proto";
import { CliError, exitCodes } from "../cli-error.ts";
import { count } from "../confirmation.ts";
import { impactWord } from "../output/impacts.ts";
import { decodeObject, type Session } from "../session.ts";
import { countText } from "./rollout-control.ts";

export interface ApproveOptions {
  readonly wave: number;
  /** Empty: shown and asked for. */
  readonly digest: string;
  readonly reason: string;
}

export async function approveRollout(session: Session, words: string, { wave, digest, reason }: ApproveOptions): Promise<void> {
  const name = words.replace(/^rollout\//, "");
  const connection = session.connect();
  const rollout = decodeObject((await connection.call("getObject", { kind: "Rollout", name })).object) as Rollout;
  let approved = digest;
  if (approved === "") {
    const { nodeSet } = rollout.spec;
    const { forecasts } = await connection.call("planRollout", { nodeSets: [nodeSet], manifests: [] });
    approved = await shownAndAsked(session, rollout, wave, forecasts[0]);
  }
  await connection.call("approveRollout", { name, wave, digest: approved, reason });
  session.print(`rollout/${name} wave ${wave} approved; watch it: drover rollout status ${name}`);
}

async function shownAndAsked(session: Session, rollout: Rollout, wave: number, forecast: RolloutForecast | undefined): Promise<string> {
  const { name } = rollout.metadata;
  const shown = rollout.status?.waves?.[wave - 1];
  if (shown?.approvalDigest === undefined) {
    const asked = (rollout.status?.waves ?? []).flatMap(({ approvalDigest }, index) => (approvalDigest === undefined ? [] : [index + 1]));
    const which = asked.length === 0 ? "no wave of it asks for an approver" : `an approver is asked for wave ${asked.join(", ")}`;
    throw new CliError(
      exitCodes.conflict,
      `wave ${wave} of rollout/${name} asks for no approval; ${which}`,
      `drover rollout status ${name} --no-watch`,
    );
  }
  session.print(approvalText(rollout, wave, forecast));
  const answer = await session.ask(`Approve wave ${wave}? [y/N] `);
  if (answer === undefined) {
    throw new CliError(
      exitCodes.usage,
      "nobody can be asked here, as this is no terminal; nothing was approved",
      `drover rollout approve ${name} --wave ${wave} --digest ${shown.approvalDigest}`,
    );
  }
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError(exitCodes.failed, "not approved; nothing was changed");
  return shown.approvalDigest;
}

/** The forecast is of now: another revision than the rollout's says nothing about it. */
export function approvalText(rollout: Rollout, wave: number, forecast: RolloutForecast | undefined): string {
  const { spec, status } = rollout;
  const { name, nodes, updated, phase, approvalDigest } = status!.waves![wave - 1]!;
  const foreseen = forecast?.revision === spec.revision ? forecast.waves[wave - 1] : undefined;
  const lines = [
    countText(rollout),
    `  wave:      ${wave} (${name}), ${count(nodes)}, ${updated} updated, ${phase}`,
    `  impact:    ${foreseen === undefined ? `at most ${status?.impact?.bound ?? "unknown"} over the whole rollout` : `at most ${impactWord(foreseen.impactBound)}, ${foreseen.atOnce} at once`}`,
    ...(foreseen === undefined ? [] : [`  first:     ${foreseen.sample.join(", ")}${nodes > foreseen.sample.length ? " ..." : ""}`]),
    `  revision:  ${spec.revision}`,
    `  digest:    ${approvalDigest}`,
  ];
  return lines.join("\n");
}
