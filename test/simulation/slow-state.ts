/** A node's durable state with a disk's latency, as one life of the agent sees it; what becomes durable is observed when it does. */
import { Plan, PlanOutcome, ReportBatch } from "@drover/proto";
import { TRY_RECORD_FILE, type TryRecord } from "../../agent/src/reconcile/try-record.ts";
import type { DurableLog, MemoryStateDirectory, StateDirectory } from "@drover/agent";
import type { JournalRecord } from "../../agent/src/reconcile/journal-state.ts";
import type { Disk } from "./disk.ts";
import type { Life } from "./life.ts";
import type { Observe } from "./observations.ts";

export interface SlowStateParts {
  readonly node: string;
  readonly state: MemoryStateDirectory;
  readonly disk: Disk;
  readonly life: Life;
  readonly observe: Observe;
}

export function slowState(parts: SlowStateParts): StateDirectory {
  const { state, disk, life } = parts;
  return {
    readFile: (name) => life.awaits(state.readFile(name)),
    writeFile: (name, content) => {
      const copy = Buffer.from(content);
      return life.awaits(disk.write(() => state.writeFile(name, copy).then(() => observeFile(name, copy, parts))));
    },
    removeFile: (name) => life.awaits(disk.write(() => state.removeFile(name).then(() => observeFile(name, undefined, parts)))),
    openLog: (name) => life.awaits(state.openLog(name).then((log) => slowLog(name, log, parts))),
    removeLog: (name) => life.awaits(disk.write(() => state.removeLog(name))),
  };
}

function slowLog(name: string, log: DurableLog, parts: SlowStateParts): DurableLog {
  const { disk, life } = parts;
  /** Appended, and not yet handed to the log below. */
  let waiting = 0;
  return {
    get records() {
      return log.records;
    },
    get sizeBytes() {
      return log.sizeBytes;
    },
    get nextSequence() {
      return log.nextSequence + waiting;
    },
    append(payload) {
      const copy = Buffer.from(payload);
      waiting += 1;
      return life.awaits(
        disk.write(() => {
          waiting -= 1;
          return log.append(copy).then((sequence) => {
            observeAppend(name, copy, parts);
            return sequence;
          });
        }),
      );
    },
    trimThrough: (sequence) =>
      life.awaits(
        disk.write(() => {
          observeTrim(name, sequence, log, parts);
          return log.trimThrough(sequence);
        }),
      ),
    close: () => life.awaits(log.close()),
  };
}

function observeFile(name: string, content: Buffer | undefined, { node, observe }: SlowStateParts): void {
  if (name !== TRY_RECORD_FILE) return;
  if (content === undefined) return observe({ type: "untried", node });
  const { planEpoch, generation, phase } = JSON.parse(content.toString()) as TryRecord;
  observe({ type: "tried", node, planEpoch, generation, phase });
}

function observeAppend(name: string, payload: Buffer, { node, observe }: SlowStateParts): void {
  if (name.startsWith("outbox-")) return observeReport(payload, node, observe);
  if (name !== "journal") return;
  const record = JSON.parse(payload.toString()) as JournalRecord;
  if (record.type === "snapshot") return;
  const { planEpoch, generation } = record;
  switch (record.type) {
    case "accepted":
      return observe({ type: "accepted", node, planEpoch, generation, plan: Plan.decode(Buffer.from(record.plan, "base64")) });
    case "intent":
      return observe({ type: "intent", node, planEpoch, generation, kind: record.kind });
    case "done":
      return observe({ type: "done", node, planEpoch, generation, step: record.step });
    case "ended": {
      const { ending } = record;
      const isOver = ending.outcome !== "failed" || !ending.isRetryable;
      const outcome = ending.outcome === "enforced" ? ending.outcome : `${ending.outcome} ${ending.reason}: ${ending.message}`;
      return observe({ type: "ended", node, planEpoch, generation, outcome, isOver });
    }
  }
}

function observeReport(payload: Buffer, node: string, observe: Observe): void {
  for (const { planEpoch, generation, body } of ReportBatch.decode(payload).events) {
    if (body?.$case !== "planFinished" || body.value.outcome === PlanOutcome.PLAN_OUTCOME_FAILED) continue;
    observe({ type: "finished", node, planEpoch, generation });
  }
}

function observeTrim(name: string, sequence: number, log: DurableLog, { node, observe }: SlowStateParts): void {
  const last = log.records.findLast((record) => record.sequence <= sequence);
  if (!name.startsWith("outbox-") || last === undefined) return;
  const { outboxEpoch, seq } = ReportBatch.decode(last.payload);
  observe({ type: "freed", node, epoch: outboxEpoch.toString("hex"), seq });
}
