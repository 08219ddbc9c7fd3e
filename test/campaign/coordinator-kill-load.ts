/**
 * A program of its own in the bed: enrolled nodes that do nothing but report, through the real outbox, over their real NATS credentials.
 * Every ack is on disk before the outbox sees it. Asked over HTTP on a unix socket: /state, /pause, /resume.
 * argv: DIRECTORY, with tokens.json in it (what `drover token create -o json` said, one per node).
 */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { type Log, silentLog, sleep, systemClock, systemRandom } from "@drover/lifecycle";
import { type Event, Facts, StepOutcome, StepResult } from "@drover/proto";
import { Heartbeats } from "../../agent/src/report/heartbeats.ts";
import { Outbox } from "../../agent/src/report/outbox.ts";
import { enrolOnce } from "../../agent/src/session/enrol.ts";
import { IdentityStore, type NodeIdentity } from "../../agent/src/session/identity.ts";
import { NatsBus } from "../../agent/src/session/nats-bus.ts";
import { FileStateDirectory } from "../../agent/src/state/index.ts";
import { type JoinToken, LOAD_STEP, type LoadNodeState } from "./coordinator-kill-count.ts";

const clock = systemClock;
const random = systemRandom;
const directory = process.argv[2] ?? "";
const stop = new AbortController();
let isPaused = false;

/** As pino would, small: what went wrong must be readable afterwards. */
const log: Log = {
  ...silentLog,
  warn: (fields: object, sentence: string) => console.log(JSON.stringify({ sentence, ...fields })),
  child: () => log,
};

class LoadNode {
  readonly nodeId: string;
  written = 0;
  readonly #outbox: Outbox;
  readonly #bus: NatsBus;
  readonly #heartbeats: Heartbeats;

  private constructor(nodeId: string, outbox: Outbox, bus: NatsBus, heartbeats: Heartbeats) {
    this.nodeId = nodeId;
    this.#outbox = outbox;
    this.#bus = bus;
    this.#heartbeats = heartbeats;
  }

  static async open(identity: NodeIdentity, state: FileStateDirectory, acks: AckNotes): Promise<LoadNode> {
    const { nodeId } = identity;
    const bus = new NatsBus({ clock, random, log, credentials: { current: identity, onRotated: () => undefined } });
    const outbox = await Outbox.open({ nodeId, state, bus, clock, random, log });
    const heartbeats = new Heartbeats({ nodeId, bus, clock }, () => ({ observedGeneration: 0, stateText: "", flags: 0 }));
    bus.onToNode(({ body }) => {
      if (body?.$case !== "ack") return;
      acks.note(nodeId, body.value.outboxEpoch.toString("hex"), body.value.seq);
      outbox.takeAck(body.value);
    });
    bus.onBudget((budget) => {
      outbox.takeBudget(budget);
      heartbeats.takeBudget(budget);
    });
    bus.onConnected(() => outbox.takeConnected());
    return new LoadNode(nodeId, outbox, bus, heartbeats);
  }

  state(): LoadNodeState {
    const { nodeId, written } = this;
    return { nodeId, written, epoch: this.#outbox.epoch.toString("hex"), unacknowledged: this.#outbox.unacknowledged };
  }

  flush(): Promise<void> {
    return this.#outbox.flush();
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#bus.run(signal), this.#outbox.run(signal), this.#heartbeats.run(signal), this.#report(signal)]);
  }

  async #report(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(clock, 20 + random.unit() * 60, signal).catch(() => undefined);
      if (isPaused || signal.aborted) continue;
      if (random.unit() < 0.3) await this.#outbox.record([this.#event()]);
      else this.#outbox.note([this.#event(), this.#event()]);
    }
  }

  /** Numbered, so that each can be found in the log. Of a kind that no later one makes superfluous: all of them must be there. */
  #event(): Event {
    this.written += 1;
    const atMs = Math.floor(clock.now());
    const value = StepResult.fromPartial({ step: LOAD_STEP, outcome: StepOutcome.STEP_OUTCOME_UNCHANGED, message: String(this.written) });
    return { atMs, generation: 0, planEpoch: 0, body: { $case: "stepResult", value } };
  }
}

/** One line per ack: node, epoch, seq. */
class AckNotes {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, "a", 0o600);
  }

  note(nodeId: string, epoch: string, seq: number): void {
    writeSync(this.#file, `${nodeId} ${epoch} ${seq}\n`);
    fsyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }
}

async function enrolled(token: JoinToken, name: string): Promise<{ identity: NodeIdentity; state: FileStateDirectory }> {
  const home = join(directory, name);
  await mkdir(home, { recursive: true, mode: 0o700 });
  const joinTokenFile = join(home, "join-token");
  await writeFile(joinTokenFile, `${token.joinToken}\n`, { mode: 0o600 });
  const state = await FileStateDirectory.open(join(home, "state"));
  const ending = await enrolOnce(
    {
      clock,
      random,
      log,
      store: new IdentityStore(state),
      endpoint: token.endpoint,
      caPin: token.caPin,
      joinTokenFile,
      machineName: name,
      facts: async () => Facts.fromPartial({ hostname: name }),
      tell: () => undefined,
    },
    stop.signal,
  );
  if (ending.kind !== "enrolled") throw new Error(`${name} could not enrol: ${ending.reason}: ${ending.message}`);
  return { identity: ending.identity, state };
}

const tokens = JSON.parse(await readFile(join(directory, "tokens.json"), "utf8")) as readonly JoinToken[];
const acks = new AckNotes(join(directory, "acks"));
const nodes = await Promise.all(
  tokens.map(async (token, index) => {
    const { identity, state } = await enrolled(token, `load-${index + 1}`);
    return LoadNode.open(identity, state, acks);
  }),
);

const server = createServer((request, response) => {
  void answer(request.url ?? "").then((body) => response.end(JSON.stringify(body)));
});

async function answer(path: string): Promise<readonly LoadNodeState[]> {
  if (path === "/pause") {
    isPaused = true;
    await Promise.all(nodes.map((node) => node.flush()));
  }
  if (path === "/resume") isPaused = false;
  return nodes.map((node) => node.state());
}

server.listen(join(directory, "socket"));
process.once("SIGTERM", () => stop.abort());
await Promise.all(nodes.map((node) => node.run(stop.signal)));
acks.close();
server.close();
server.closeAllConnections();
