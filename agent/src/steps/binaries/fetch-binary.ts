/** Brings what a binary needs into the store. Killed anywhere, it goes on with what is there; nothing half is ever under a stored name. */
import { type Binary, type BinaryFile, ProgressPhase } from "@drover/proto";
import { DownloadFailed, shownSource } from "../../host/download-port.ts";
import { type StepContext, StepError } from "../step.ts";
import { readBinariesMemory, type Verified } from "./binaries-memory.ts";
import { incomingPath, STORE, storedPath } from "./store.ts";

/** What must stay free beside what comes. */
const MARGIN_BYTES = 64 * 2 ** 20;
/** An archive lies beside what is taken out of it. */
const ARCHIVE_FACTOR = 4;

/** @throws StepError DiskBudgetExceeded */
export async function checkBudget(missing: readonly Binary[], context: StepContext): Promise<void> {
  const needed = missing.reduce(
    (sum, { files, sizeBytes }) => sum + sizeBytes * (files[0]?.member === "" ? 1 : ARCHIVE_FACTOR),
    MARGIN_BYTES,
  );
  const free = await context.host.files.freeBytes(STORE);
  if (missing.length === 0 || needed <= free) return;
  const message = `${mebibytes(needed)} are needed below ${STORE}, ${mebibytes(free)} are free: nothing was fetched`;
  throw new StepError("DiskBudgetExceeded", message, true);
}

/** @param missing files of the binary that the store does not hold */
export async function fetchBinary(binary: Binary, missing: readonly BinaryFile[], context: StepContext): Promise<void> {
  const { host, signal } = context;
  const arrived = incomingPath(binary);
  const isArchive = missing.some(({ member }) => member !== "");
  tell(ProgressPhase.PROGRESS_PHASE_STARTED, 0, `from ${shownSource(binary.source)}`, binary, context);
  try {
    const { source, digest, sizeBytes } = binary;
    await host.downloads.fetch(
      { source, digest, sizeBytes, mode: isArchive ? 0o600 : 0o755 },
      arrived,
      ({ doneBytes, totalBytes }) => {
        context.progress({ item: binary.name, phase: ProgressPhase.PROGRESS_PHASE_RUNNING, doneBytes, totalBytes, message: "" });
      },
      signal,
    );
    if (isArchive) {
      const wanted = new Map(missing.map((file) => [storedPath(binary, file), { member: file.member, path: storedPath(binary, file) }]));
      const extracted = await host.downloads.extract(arrived, [...wanted.values()], signal);
      const digests = new Map(extracted.map((each) => [each.member, each.digest]));
      await rememberVerified(
        [...wanted.values()].map(({ member, path }) => [path, digests.get(member)] as const),
        context,
      );
      // Only now: a kill in between would fetch it again.
      await host.files.remove(arrived);
    } else {
      const path = storedPath(binary, missing[0]!);
      await host.files.rename(arrived, path);
      await rememberVerified([[path, binary.digest]], context);
    }
  } catch (error) {
    if (!(error instanceof DownloadFailed)) throw error;
    tell(ProgressPhase.PROGRESS_PHASE_FAILED, 0, error.message, binary, context);
    const isRetryable = error.reason === "SourceUnreachable" || error.reason === "DiskFull";
    throw new StepError(error.reason, `${binary.name}: ${error.message}`, isRetryable);
  }
  tell(ProgressPhase.PROGRESS_PHASE_DONE, binary.sizeBytes, "stored", binary, context);
}

async function rememberVerified(files: readonly (readonly [string, string | undefined])[], context: StepContext): Promise<void> {
  const memory = readBinariesMemory(await context.memory.get());
  const verified: Record<string, Verified> = { ...memory.verified };
  for (const [path, digest] of files) {
    const identity = await context.host.files.identity(path);
    if (identity !== undefined && digest !== undefined) verified[path] = { digest, version: identity.version };
  }
  await context.memory.set({ ...memory, verified });
}

function tell(phase: ProgressPhase, doneBytes: number, message: string, binary: Binary, context: StepContext): void {
  context.say(`${binary.name}: ${message}`);
  context.progress({ item: binary.name, phase, doneBytes, totalBytes: binary.sizeBytes, message });
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
