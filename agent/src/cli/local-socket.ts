/** Questions that `drover-agent status` and `diff` ask of the running agent, over a socket in the state directory (0700). */
import { unlink } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type Clock, withDeadline } from "@drover/lifecycle";

const FILE = "agent.sock";
const MAX_QUESTION_BYTES = 256;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const ANSWER_TIMEOUT_MS = 5000;

export type Answers = Readonly<Record<string, () => unknown>>;

/** Only whoever holds the instance lock may call this: a socket that was left behind is replaced. */
export async function answerLocally(stateDir: string, answers: Answers): Promise<{ close(): Promise<void> }> {
  const path = join(stateDir, FILE);
  await unlink(path).catch(() => undefined);
  const server = createServer((socket) => {
    let question = "";
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      question += bytes.toString("latin1");
      if (question.length > MAX_QUESTION_BYTES) socket.destroy();
      else if (question.endsWith("\n")) answer(socket, question.trim(), answers);
    });
  });
  server.unref();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return { close: () => new Promise((resolve) => server.close(() => resolve())) };
}

function answer(socket: Socket, question: string, answers: Answers): void {
  const find = Object.hasOwn(answers, question) ? answers[question] : undefined;
  socket.end(JSON.stringify(find === undefined ? null : find()));
}

/** undefined: no agent runs on that directory, or it does not answer. */
export async function askLocally(clock: Clock, stateDir: string, question: string): Promise<unknown> {
  try {
    const text = await withDeadline(clock, "the agent's answer", ANSWER_TIMEOUT_MS, undefined, (signal) => {
      return ask(join(stateDir, FILE), question, signal);
    });
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

async function ask(path: string, question: string, signal: AbortSignal): Promise<string> {
  const socket = connect(path, () => socket.write(`${question}\n`));
  signal.addEventListener("abort", () => socket.destroy(), { once: true });
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
