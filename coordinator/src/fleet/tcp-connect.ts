/** One TCP connect on a real socket. Sends nothing. */
import { connect } from "node:net";
import type { Clock } from "@drover/lifecycle";
import type { ConnectTcp, Knock } from "./tcp-path.ts";

const ANSWER_WITHIN_MS = 2_000;
/** A timer that fires so much later was held up, and with it everything that the socket had to tell. */
const MAX_LATENESS_MS = 500;

/** What only the machine itself sends. A router's or firewall's word (EHOSTUNREACH, ENETUNREACH) is none, whatever it says. */
const ANSWERS: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET"]);

export function tcpConnect(clock: Clock): ConnectTcp {
  return (address, port, signal) =>
    new Promise<Knock>((resolve) => {
      const startMs = clock.monotonicMs();
      const end = (knock: Knock): void => {
        cancel();
        signal.removeEventListener("abort", onAbort);
        socket.destroy();
        resolve(knock);
      };
      const onAbort = (): void => end("unproven");
      const cancel = clock.setTimer(ANSWER_WITHIN_MS, () => {
        const isLate = clock.monotonicMs() - startMs > ANSWER_WITHIN_MS + MAX_LATENESS_MS;
        // What lies in the socket is read first: a timer that is due goes before it.
        setImmediate(() => setImmediate(() => end(isLate ? "unproven" : "silent")));
      });
      const socket = connect({ host: address, port, autoSelectFamily: false });
      socket.once("connect", () => end("answered"));
      socket.on("error", (error: NodeJS.ErrnoException) => end(ANSWERS.has(error.code ?? "") ? "answered" : "unproven"));
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
}
