/** A StepContext for tests: memory that survives, output and progress that can be looked at. */
import { type Clock, VirtualClock } from "@drover/lifecycle";
import { type Credentials, noCredentials, type StepContext, type StepMemory, type StepProgress } from "../steps/step.ts";
import type { Host } from "../host/host.ts";
import type { FakeHost } from "./fake-host.ts";

export interface FakeStepContext extends StepContext {
  readonly lines: readonly string[];
  readonly progressed: readonly StepProgress[];
  readonly memory: FakeStepMemory;
}

export class FakeStepMemory implements StepMemory {
  #json: string | undefined;
  readonly #host: FakeHost | undefined;

  /** @param host when given, writes count as its effects ("memory.set"), so that crashAfter reaches them */
  constructor(host?: FakeHost) {
    this.#host = host;
  }

  async get(): Promise<unknown> {
    this.#host?.effects.assertAlive();
    return this.#json === undefined ? undefined : (JSON.parse(this.#json) as unknown);
  }

  async set(value: unknown): Promise<void> {
    this.#host?.effects.record("memory.set", "", JSON.stringify(value) ?? "");
    this.#json = value === undefined ? undefined : JSON.stringify(value);
  }
}

/** @param parts what differs from: a new virtual clock, a signal that never aborts, empty memory */
export function fakeStepContext(
  host: Host,
  parts: {
    readonly clock?: Clock;
    readonly signal?: AbortSignal;
    readonly memory?: FakeStepMemory;
    readonly credentials?: Credentials;
    readonly generation?: number;
  } = {},
): FakeStepContext {
  const lines: string[] = [];
  const progressed: StepProgress[] = [];
  return {
    host,
    clock: parts.clock ?? new VirtualClock(),
    signal: parts.signal ?? new AbortController().signal,
    memory: parts.memory ?? new FakeStepMemory("effects" in host ? (host as FakeHost) : undefined),
    credentials: parts.credentials ?? noCredentials,
    generation: parts.generation ?? 1,
    lines,
    progressed,
    say: (line) => void lines.push(line),
    progress: (progress) => void progressed.push(progress),
  };
}
