/** Tells systemd how the service is: ready, one sentence of status, and that the main loop still turns. */
import { spawn } from "node:child_process";
import { type Clock, type Component, sleep } from "@drover/lifecycle";

const PROGRAM = "/usr/bin/systemd-notify";
const CHILD_TIMEOUT_MS = 10_000;
/** The unit's WatchdogSec is 300: two of these may be lost. */
const WATCHDOG_INTERVAL_MS = 120_000;
const MAX_STATUS_LENGTH = 200;

export interface ServiceNotifier {
  ready(): void;
  /** The newest sentence wins when they come faster than they can be told. */
  status(sentence: string): void;
  stopping(): void;
  /** Feeds the watchdog for as long as `countTurns` rises between two looks. */
  watchdog(clock: Clock, countTurns: () => number): Component;
}

/** @param notifySocket the value of NOTIFY_SOCKET; undefined: nobody listens and no child is ever started */
export function serviceNotifier(notifySocket: string | undefined, program = PROGRAM): ServiceNotifier {
  if (notifySocket === undefined || notifySocket === "") return silentNotifier;
  const queue = new NotifyQueue(notifySocket, program);
  return {
    ready: () => queue.put("--ready"),
    status: (sentence) => queue.put(`--status=${sentence.replaceAll(/\s+/g, " ").slice(0, MAX_STATUS_LENGTH)}`),
    stopping: () => queue.put("STOPPING=1"),
    watchdog: (clock, countTurns) => ({
      name: "watchdog",
      run: (signal) => feed(clock, countTurns, () => queue.put("WATCHDOG=1"), signal),
    }),
  };
}

const silentNotifier: ServiceNotifier = {
  ready() {},
  status() {},
  stopping() {},
  watchdog: () => ({
    name: "watchdog",
    run: (signal) =>
      new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve(), { once: true }))),
  }),
};

async function feed(clock: Clock, countTurns: () => number, tell: () => void, signal: AbortSignal): Promise<void> {
  let before = -1;
  while (!signal.aborted) {
    const turns = countTurns();
    if (turns > before) tell();
    before = turns;
    await sleep(clock, WATCHDOG_INTERVAL_MS, signal).catch(() => undefined);
  }
}

/** One child at a time; of waiting statuses only the last is kept. */
class NotifyQueue {
  readonly #environment: Readonly<Record<string, string>>;
  readonly #program: string;
  #waiting: string[] = [];
  #isRunning = false;

  constructor(notifySocket: string, program: string) {
    this.#environment = { NOTIFY_SOCKET: notifySocket };
    this.#program = program;
  }

  put(argument: string): void {
    const isStatus = argument.startsWith("--status=");
    this.#waiting = this.#waiting.filter((other) => other !== argument && !(isStatus && other.startsWith("--status=")));
    this.#waiting.push(argument);
    this.#next();
  }

  #next(): void {
    if (this.#isRunning) return;
    const argument = this.#waiting.shift();
    if (argument === undefined) return;
    this.#isRunning = true;
    // What could not be told is told again by the next change or the next feeding.
    const child = spawn(this.#program, [argument], {
      env: this.#environment,
      stdio: "ignore",
      timeout: CHILD_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    // An agent that has stopped does not wait for it: on a busy machine each takes its ten seconds, and three are a failed stop.
    child.unref();
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      this.#isRunning = false;
      this.#next();
    };
    child.once("error", over);
    child.once("exit", over);
  }
}
