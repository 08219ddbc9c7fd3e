/** Rungs of a repair on this node: each request done once, one at a time, and never while a plan is applied. */
import { type Log, sleep } from "@drover/lifecycle";
import { ProgressPhase, type RunRung } from "@drover/proto";
import { readMemory } from "../steps/kubeadm/memory.ts";
import { stepMemory } from "./memory.ts";
import { RungBook, type RungEnd } from "./rung-book.ts";
import { done, failed, messageOf, refusedUnits, repull, restartUnits, type RungSurroundings } from "./rung-work.ts";
import { isFatal } from "./run-step.ts";
import type { Turns } from "./turns.ts";

export interface RungsParts extends RungSurroundings {
  readonly turns: Turns;
  /** A plan is applied, or waits to be confirmed or undone. */
  readonly isInChange: () => Promise<boolean>;
  readonly log: Log;
}

type Answer = (end: RungEnd) => Promise<void>;

/** A drift scan may be under way; it is not waited for longer. */
const TURN_WITHIN_MS = 30_000;
/** Below what the coordinator waits for. */
const REPULL_DEADLINE_MS = 18 * 60_000;
/** The coordinator closes a session that says nothing for two minutes. */
const ALIVE_EVERY_MS = 20_000;
/** The answer is on its way before the machine goes down. */
const REBOOT_AFTER_MS = 1_000;

export class Rungs {
  readonly #parts: RungsParts;
  readonly #book: RungBook;
  readonly #stop = new AbortController();
  readonly #running = new Map<string, Promise<RungEnd>>();
  #rebooting: string | undefined;

  private constructor(parts: RungsParts, book: RungBook) {
    this.#parts = parts;
    this.#book = book;
  }

  static async open(parts: RungsParts): Promise<Rungs> {
    return new Rungs(parts, await RungBook.open(parts.state));
  }

  /** What runs ends with the agent, not with the session that asked for it. */
  async run(signal: AbortSignal): Promise<void> {
    if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    this.#stop.abort(signal.reason);
    await Promise.allSettled(this.#running.values());
  }

  /** @param answer called once, before the machine goes down. @throws when the agent stops first: the request stays begun */
  async ask({ requestId, rung }: RunRung, answer: Answer): Promise<void> {
    if (!/^[\x21-\x7e]{1,200}$/.test(requestId)) return answer(failed("InvalidRequest", "a request needs an id of 1 to 200 characters"));
    if (rung === undefined) return answer(failed("Unsupported", "this agent does not know that rung"));
    const before = await this.#endBefore(requestId, wordOf(rung));
    if (before !== undefined) return answer(before);
    if (rung.$case === "reboot") return this.#reboot(requestId, answer);
    const running = this.#running.get(requestId) ?? this.#start(requestId, rung);
    return answer(await running);
  }

  /** What is to be answered without doing anything. */
  async #endBefore(requestId: string, rung: string): Promise<RungEnd | undefined> {
    const entry = this.#book.find(requestId);
    if (entry === undefined) return undefined;
    if (entry.rung !== rung) return failed("RequestIdTaken", `request ${requestId} was ${entry.rung}`);
    if (entry.end !== undefined) return entry.end;
    if (rung !== "reboot") return undefined;
    if (this.#rebooting === requestId) return REBOOTING;
    if (entry.bootId === (await this.#parts.host.kernel.bootId())) return undefined;
    const end = done("the machine has booted since");
    await this.#book.write({ ...entry, end });
    return end;
  }

  #start(requestId: string, rung: Exclude<NonNullable<RunRung["rung"]>, { $case: "reboot" }>): Promise<RungEnd> {
    const running = this.#carryOut(requestId, rung).finally(() => this.#running.delete(requestId));
    this.#running.set(requestId, running);
    return running;
  }

  async #carryOut(requestId: string, rung: Exclude<NonNullable<RunRung["rung"]>, { $case: "reboot" }>): Promise<RungEnd> {
    const { signal } = this.#stop;
    const refused = rung.$case === "restartUnits" ? refusedUnits(rung.value.units) : undefined;
    if (refused !== undefined) return refused;
    return this.#inTurn(async () => {
      const entry = await this.#begin(requestId, wordOf(rung));
      const stopTelling = this.#tellAlive(rung.$case);
      try {
        const end = await this.#work(rung, signal);
        this.#parts.log.info({ requestId, rung: rung.$case, ...end }, "rung ended");
        await this.#book.write({ ...entry, end });
        return end;
      } finally {
        stopTelling();
      }
    });
  }

  async #work(rung: Exclude<NonNullable<RunRung["rung"]>, { $case: "reboot" }>, signal: AbortSignal): Promise<RungEnd> {
    try {
      if (rung.$case === "repull") return await repull(this.#parts, REPULL_DEADLINE_MS, signal);
      return await restartUnits(rung.value.units, this.#parts, signal);
    } catch (error) {
      if (signal.aborted || isFatal(error)) throw error;
      return failed("Bug", messageOf(error));
    }
  }

  async #reboot(requestId: string, answer: Answer): Promise<void> {
    const { host, clock, log } = this.#parts;
    const { signal } = this.#stop;
    let isAnswered = false;
    const refused = await this.#inTurn(async () => {
      const obstacle = await this.#rebootObstacle();
      if (obstacle !== undefined) return failed("Unsupported", obstacle);
      const entry = await this.#begin(requestId, "reboot");
      this.#rebooting = requestId;
      try {
        await answer(REBOOTING);
        isAnswered = true;
        await sleep(clock, REBOOT_AFTER_MS, signal);
        log.warn({ requestId }, "rebooting: the coordinator asked for it");
        await host.units.reboot(signal);
      } catch (error) {
        this.#rebooting = undefined;
        // Not heard, or stopped before: the same request begins anew.
        if (!isAnswered || signal.aborted || isFatal(error)) throw error;
        log.error({ requestId, err: error }, "reboot failed");
        await this.#book.write({ ...entry, end: failed("RebootFailed", messageOf(error)) });
      }
      return REBOOTING;
    });
    if (!isAnswered) await answer(refused);
  }

  async #rebootObstacle(): Promise<string | undefined> {
    const { host } = this.#parts;
    try {
      return (await host.units.canReboot(this.#stop.signal)) ? undefined : "systemd does not know reboot.target here";
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      return messageOf(error);
    }
  }

  async #inTurn(work: () => Promise<RungEnd>): Promise<RungEnd> {
    const { turns, isInChange } = this.#parts;
    const { signal } = this.#stop;
    if (await isInChange()) return BUSY;
    const end = await turns.holdWithin(TURN_WITHIN_MS, signal, async () => {
      if (await isInChange()) return BUSY;
      if (await this.#isKubeadmRunning()) return failed("Busy", "kubeadm is running; ask again when it has ended");
      return work();
    });
    signal.throwIfAborted();
    return end ?? failed("Busy", "a drift scan or another rung is under way; ask again when it has ended");
  }

  async #begin(requestId: string, rung: string) {
    const entry = { requestId, rung, bootId: await this.#parts.host.kernel.bootId() };
    await this.#book.write(entry);
    return entry;
  }

  async #isKubeadmRunning(): Promise<boolean> {
    const { host, state } = this.#parts;
    const { job } = readMemory(await stepMemory(state, "kubeadm").get());
    if (job === undefined || job.ended !== undefined || job.bootId !== (await host.kernel.bootId())) return false;
    return (await host.transientUnits.status(job.unit, this.#stop.signal)).state === "running";
  }

  #tellAlive(item: string): () => void {
    const { clock, showProgress, journal } = this.#parts;
    const generation = journal().accepted?.generation ?? 0;
    let cancel: () => void = () => undefined;
    const again = (): void => {
      cancel = clock.setTimer(ALIVE_EVERY_MS, () => {
        showProgress({
          generation,
          step: "repair",
          item,
          phase: ProgressPhase.PROGRESS_PHASE_RUNNING,
          doneBytes: 0,
          totalBytes: 0,
          message: "",
        });
        again();
      });
    };
    again();
    return () => cancel();
  }
}

const BUSY = failed("Busy", "a plan is being applied; ask again when it has ended");
const REBOOTING = done("rebooting");

function wordOf(rung: NonNullable<RunRung["rung"]>): string {
  return rung.$case === "restartUnits" ? `restartUnits ${rung.value.units.join(" ")}` : rung.$case;
}
