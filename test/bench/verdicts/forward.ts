/** Carries connections on to somewhere else, byte for byte; when one side goes, so does the other. */
import { createServer, type Server, type Socket } from "node:net";

export function forwarder(connectOn: () => Socket): Server {
  return createServer((from) => {
    const to = connectOn();
    from.pipe(to).pipe(from);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
}
