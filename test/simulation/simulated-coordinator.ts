/** The coordinator: lives come and go, store, report log and snapshot stay. */
import { type Clock, type Log, type Random, seededRandom } from "@drover/lifecycle";
import {
  type Coordinator,
  createCoordinator,
  type MemoryBus,
  memoryReportLog,
  memorySnapshotStore,
  memoryStore,
  type ReportLog,
  type Store,
} from "@drover/coordinator";
import { type Count, coordinatorBus } from "./bus-sides.ts";
import { observedStore, slowReportLog, slowSnapshotStore, slowStore } from "./coordinator-storage.ts";
import { Disk } from "./disk.ts";
import { Life } from "./life.ts";
import type { Observe } from "./observations.ts";
import type { Server } from "./session-network.ts";

export interface SimulatedCoordinatorParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly bus: MemoryBus;
  readonly log: Log;
  readonly observe: Observe;
  readonly count: Count;
  readonly say: (event: string) => void;
  readonly died: (life: Life) => void;
  readonly becameReady: () => void;
  /** It was given a node's beat. */
  readonly heard: (nodeId: string) => void;
  /** Whether the machine at that address can be reached. */
  readonly isReachable: (address: string) => boolean;
  /** For tests of the checkers: what the coordinator gets instead of an honest report log. */
  readonly tamper?: (log: ReportLog) => ReportLog;
}

export class SimulatedCoordinator {
  readonly store: Store;
  readonly reportLog = memoryReportLog();
  readonly #snapshots = memorySnapshotStore();
  readonly #parts: SimulatedCoordinatorParts;
  readonly #disk: Disk;
  #life: Life | undefined;
  #running: { readonly coordinator: Coordinator; readonly server: Server } | undefined;

  constructor(parts: SimulatedCoordinatorParts) {
    this.#parts = parts;
    this.store = observedStore(memoryStore(), parts.observe);
    this.#disk = new Disk(parts.clock, parts.random, 3);
  }

  get isRunning(): boolean {
    return this.#life !== undefined;
  }

  /** Ready to serve; undefined: away, or still reading what is stored. */
  get coordinator(): Coordinator | undefined {
    return this.#running?.coordinator;
  }

  get server(): Server | undefined {
    return this.#running?.server;
  }

  start(): void {
    if (this.#life !== undefined) return;
    const { clock, random, bus, log, observe, count, say, heard, tamper, isReachable } = this.#parts;
    const life = new Life(clock);
    const reportLog = slowReportLog(this.reportLog, this.#disk, life, observe);
    const coordinator = createCoordinator({
      store: slowStore(this.store, this.#disk, life),
      reportLog: tamper?.(reportLog) ?? reportLog,
      bus: coordinatorBus(bus, life, { observe, count, heard }),
      snapshotStore: slowSnapshotStore(this.#snapshots, this.#disk, life),
      clock: life.clock,
      random: seededRandom(Math.floor(random.unit() * 2 ** 32)),
      log,
      connectTcp: (address) => life.awaits(Promise.resolve(isReachable(address) ? "answered" : "silent")),
    });
    this.#life = life;
    say("started");
    void life.awaits(coordinator.ready).then(() => {
      say("ready");
      this.#running = { coordinator, server: { life, converse: (...call) => coordinator.converse(...call) } };
      this.#parts.becameReady();
    });
    life.awaits(coordinator.run(new AbortController().signal)).then(
      () => this.#ended(life, "ended by itself"),
      (error: unknown) => this.#ended(life, `failed: ${(error as Error).message}`),
    );
  }

  /** As by kill -9. */
  kill(): void {
    const life = this.#life;
    if (life === undefined) return;
    this.#disk.crash();
    life.kill();
    this.#forgetLife(life);
    this.#parts.say("killed");
  }

  #ended(life: Life, event: string): void {
    life.kill();
    this.#forgetLife(life);
    this.#parts.say(event);
    this.#parts.clock.setTimer(5_000, () => this.start());
  }

  #forgetLife(life: Life): void {
    this.#life = undefined;
    this.#running = undefined;
    this.#parts.died(life);
  }
}
