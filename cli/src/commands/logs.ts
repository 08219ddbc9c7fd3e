/** `drover logs NODE [--step STEP] [--max-bytes N]`: what the steps printed, fetched from the node in chunks. */
import type { Session } from "../session.ts";

export async function logs(session: Session, node: string, step: string, maxBytes: number): Promise<void> {
  const request = { node, step, maxBytes };
  for await (const { chunk } of session.connect().stream("fetchLogs", request, session.signal)) {
    session.print(chunk.toString("utf8").replace(/\n$/, ""));
  }
}
