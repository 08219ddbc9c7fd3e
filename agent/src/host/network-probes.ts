/** Probes over real sockets. What is answered is not read: the status says it all. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import type { ProbeAnswer, Probes } from "./probe-port.ts";

const PASSED: ProbeAnswer = { isPassed: true };
const LOOPBACK = "127.0.0.1";

export class NetworkProbes implements Probes {
  http(url: string, timeoutMs: number, signal: AbortSignal): Promise<ProbeAnswer> {
    return answered(timeoutMs, signal, (inTime, settle) => {
      const request = url.startsWith("https:") ? httpsRequest : httpRequest;
      const asked = request(url, { signal: inTime, agent: false, rejectUnauthorized: false, headers: { "user-agent": "drover-agent" } });
      asked.on("response", (response) => {
        const status = response.statusCode ?? 0;
        response.destroy();
        settle(status >= 200 && status < 400 ? PASSED : { isPassed: false, reason: "HttpStatus", message: `${url} answered ${status}` });
      });
      asked.on("error", (error: NodeJS.ErrnoException) => settle(failed(url, error)));
      asked.end();
    });
  }

  tcp(port: number, timeoutMs: number, signal: AbortSignal): Promise<ProbeAnswer> {
    return answered(timeoutMs, signal, (inTime, settle) => {
      const socket = connect({ host: LOOPBACK, port });
      inTime.addEventListener("abort", () => socket.destroy(), { once: true });
      socket.on("connect", () => {
        socket.destroy();
        settle(PASSED);
      });
      socket.on("error", (error: NodeJS.ErrnoException) => settle(failed(`${LOOPBACK}:${port}`, error)));
    });
  }
}

async function answered(
  timeoutMs: number,
  signal: AbortSignal,
  ask: (inTime: AbortSignal, settle: (answer: ProbeAnswer) => void) => void,
): Promise<ProbeAnswer> {
  signal.throwIfAborted();
  const late = AbortSignal.timeout(timeoutMs);
  const inTime = AbortSignal.any([signal, late]);
  const answer = await new Promise<ProbeAnswer>((resolve) => {
    inTime.addEventListener("abort", () => resolve({ isPassed: false, reason: "TimedOut", message: `no answer within ${timeoutMs} ms` }), {
      once: true,
    });
    ask(inTime, resolve);
  });
  signal.throwIfAborted();
  return answer;
}

function failed(target: string, { code, message }: NodeJS.ErrnoException): ProbeAnswer {
  const reason = code === "ECONNREFUSED" ? "ConnectionRefused" : "NoAnswer";
  return { isPassed: false, reason, message: `${target}: ${code === "ECONNREFUSED" ? "nothing listens there" : message}` };
}
