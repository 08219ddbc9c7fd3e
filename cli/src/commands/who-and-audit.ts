/** `drover whoami` and `drover audit`. */
import { table } from "../output/table.ts";
import type { Session } from "../session.ts";

export async function whoAmI(session: Session): Promise<void> {
  const answer = await session.connect().call("whoAmI", {});
  session.print(`${answer.name}, role ${answer.role}, at ${session.connect().endpoint} (coordinator ${answer.coordinatorVersion})`);
}

export async function audit(session: Session, limit: number, actor: string, target: string): Promise<void> {
  const { records } = await session.connect().call("listAudit", { limit, actor, target });
  session.print(
    table(
      ["TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "MESSAGE"],
      records.map((record) => [
        new Date(record.atMs).toISOString(),
        record.actor,
        record.action,
        record.target,
        record.outcome,
        record.message,
      ]),
    ),
  );
}
