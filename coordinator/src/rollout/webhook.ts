/** Asks whoever the strategy names whether the next wave may begin: one POST with a deadline; 2xx lets it begin. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

export interface WaveQuestion {
  readonly rollout: string;
  readonly nodeSet: string;
  /** The wave that is done, counted from 1; the canary is wave 1 where there is one. */
  readonly wave: number;
  readonly revision: string;
}

/** @param timeoutMs for all of it */
export type AskWebhook = (url: string, question: WaveQuestion, timeoutMs: number, signal: AbortSignal) => Promise<WebhookAnswer>;

export interface WebhookAnswer {
  readonly isPassed: boolean;
  /** For people: the status, and the first words of what was answered. */
  readonly message: string;
}

const MAX_ANSWER_BYTES = 4 * 1024;
const MAX_SHOWN = 200;

/** Redirects are not followed: who passes is whoever was named. Never throws. */
export const askWebhook: AskWebhook = (url, question, timeoutMs, signal) =>
  new Promise((resolve) => {
    const body = Buffer.from(JSON.stringify(question));
    const ended = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const failed = (error: unknown): void => {
      const isLate = ended.aborted && !signal.aborted;
      const why = isLate ? `no answer within ${timeoutMs / 1000} s` : (error as Error).message;
      resolve({ isPassed: false, message: `${where(url)} could not be asked: ${why}` });
    };
    const send = url.startsWith("https:") ? httpsRequest : httpRequest;
    const headers = { "content-type": "application/json", "content-length": body.length, "user-agent": "drover-coordinator" };
    const request = send(url, { method: "POST", headers, signal: ended, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      const answered = (): void => {
        const status = response.statusCode ?? 0;
        const text = Buffer.concat(chunks).toString("utf8").replaceAll(/\s+/g, " ").trim().slice(0, MAX_SHOWN);
        resolve({ isPassed: status >= 200 && status < 300, message: `${where(url)} answered ${status}${text === "" ? "" : `: ${text}`}` });
      };
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= MAX_ANSWER_BYTES) chunks.push(chunk);
        // Enough was said.
        else {
          answered();
          response.destroy();
        }
      });
      response.on("end", answered);
      response.on("error", failed);
    });
    request.on("error", failed);
    request.end(body);
  });

/** Credentials, path and query may be secret: of many services whoever knows the path may post. */
function where(url: string): string {
  return new URL(url).origin;
}
