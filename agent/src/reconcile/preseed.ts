/**
 * What a boot does before network, containerd and kubelet read their files (I4): a change that was not confirmed in the boot before is not
 * tried by this one. Idempotent: killed anywhere and run again it ends the same. The agent verifies and rejects when it starts.
 */
import type { Files, Kernel } from "../host/host.ts";
import type { StateDirectory } from "../ports.ts";
import type { StepKind } from "@drover/proto";
import { stepMemory } from "./memory.ts";
import { type OriginalFile, readTryRecord, TRY_RECORD_FILE } from "./try-record.ts";

/** @returns the paths that are as they were before; undefined: there was nothing to put back */
export async function preseed(
  state: StateDirectory,
  host: { readonly files: Files; readonly kernel: Pick<Kernel, "bootId"> },
): Promise<readonly string[] | undefined> {
  const record = await readTryRecord(state);
  if (record === undefined || record.isPreseeded || record.bootId === (await host.kernel.bootId())) return undefined;
  const originals = Object.entries(record.files).toReversed();
  for (const [path, original] of originals) await putBack(path, original, host.files);
  for (const [kind, memory] of Object.entries(record.memories)) {
    await stepMemory(state, kind as StepKind).set(memory ?? undefined);
  }
  await state.writeFile(TRY_RECORD_FILE, Buffer.from(JSON.stringify({ ...record, phase: "undoing", isPreseeded: true })));
  return originals.map(([path]) => path);
}

async function putBack(path: string, original: OriginalFile, files: Files): Promise<void> {
  switch (original.kind) {
    case "absent":
      return files.remove(path);
    case "symlink":
      return files.writeLink(path, original.target);
    case "file":
      return files.write(path, Buffer.from(original.content, "base64"), original.mode);
  }
}
