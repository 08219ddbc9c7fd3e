/** Transient units as a table: a test says how each runs and ends; they live on when the agent is "killed". */
import type { TransientStatus, TransientUnit, TransientUnits } from "../host/transient-units-port.ts";
import type { EffectLog } from "./effect-log.ts";
import type { FakeFiles } from "./fake-files.ts";

export interface TransientEnd {
  readonly exitCode: number;
  readonly output?: string;
  /** Default by the exit code. */
  readonly result?: string;
}

/** undefined: it runs until `end`. */
export type TransientProgram = (order: TransientUnit) => TransientEnd | undefined;

export class FakeTransientUnits implements TransientUnits {
  readonly #effects: EffectLog;
  readonly #files: FakeFiles;
  readonly #onStart: TransientProgram;
  readonly #units = new Map<string, { readonly order: TransientUnit; status: TransientStatus }>();

  constructor(effects: EffectLog, files: FakeFiles, onStart: TransientProgram) {
    this.#effects = effects;
    this.#files = files;
    this.#onStart = onStart;
  }

  /** By the test's hand: names of those that run. */
  get running(): readonly string[] {
    return [...this.#units].flatMap(([unit, { status }]) => (status.state === "running" ? [unit] : []));
  }

  /** By the test's hand. */
  end(unit: string, { exitCode, output, result }: TransientEnd): void {
    const entry = this.#units.get(unit);
    if (entry === undefined) throw new Error(`no transient unit ${unit}`);
    if (output !== undefined) this.print(unit, output);
    entry.status = { state: "ended", exitCode, signal: undefined, result: result ?? (exitCode === 0 ? "success" : "exit-code") };
  }

  /** By the test's hand: what it writes to its output. */
  print(unit: string, text: string): void {
    const path = this.#units.get(unit)?.order.outputFile;
    if (path === undefined) throw new Error(`no transient unit ${unit}`);
    this.#files.put(path, { content: `${this.#files.text(path) ?? ""}${text}`, mode: 0o600 });
  }

  /** Another boot: nothing of them is left. */
  forgetAll(): void {
    this.#units.clear();
  }

  async start(order: TransientUnit, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("transientUnits.start", order.unit, [order.program, ...order.args].join(" "));
    if (this.#units.has(order.unit)) throw new Error(`Unit ${order.unit} already exists.`);
    this.#units.set(order.unit, { order, status: { state: "running" } });
    this.#files.put(order.outputFile, { content: "", mode: 0o600 });
    const end = this.#onStart(order);
    if (end !== undefined) this.end(order.unit, end);
  }

  async status(unit: string, signal: AbortSignal): Promise<TransientStatus> {
    signal.throwIfAborted();
    this.#effects.assertAlive();
    return this.#units.get(unit)?.status ?? { state: "absent" };
  }

  async collect(unit: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#effects.record("transientUnits.collect", unit);
    this.#units.delete(unit);
  }
}
