/** A bundle of evidence: every file through one redaction, what could not be had named in it, and never more than it may have. */
import { withDeadline } from "@drover/lifecycle";
import { redact } from "../host/redact.ts";
import { gzippedTar } from "../host/tar-archive.ts";
import { type EvidenceSource, type Section, sectionsOf } from "./sections.ts";

/** Below what the coordinator waits for the first piece. */
const SECTION_DEADLINE_MS = 15_000;
const MAX_FILE_BYTES = 2 ** 20;

interface Gathered {
  readonly name: string;
  readonly text: string;
}

/** @returns a gzipped tar archive of at most maxBytes. @throws the signal's reason; RangeError when not even the short files fit */
export async function gatherEvidence(source: EvidenceSource, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const missing: string[] = [];
  const gathered: Gathered[] = [];
  const had = await Promise.all(sectionsOf(source).map((section) => textOf(section, source, signal)));
  for (const each of had) {
    if ("why" in each) missing.push(redact(`${each.name}: ${each.why}\n`));
    else gathered.push({ name: each.name, text: redact(each.text) });
  }
  const files = [...gathered, { name: "missing.txt", text: missing.join("") }];
  const nowMs = source.clock.now();
  for (let limit = MAX_FILE_BYTES; limit >= 256; limit /= 2) {
    const bundle = gzippedTar(
      files.map(({ name, text }) => ({ name, content: tailOf(text, limit) })),
      nowMs,
    );
    if (bundle.length <= maxBytes) return bundle;
  }
  throw new RangeError(`evidence does not fit into ${maxBytes} bytes`);
}

async function textOf(
  { name, text }: Section,
  { clock }: EvidenceSource,
  signal: AbortSignal,
): Promise<Gathered | { readonly name: string; readonly why: string }> {
  try {
    return { name, text: await withDeadline(clock, name, SECTION_DEADLINE_MS, signal, text) };
  } catch (error) {
    signal.throwIfAborted();
    return { name, why: error instanceof Error ? error.message : String(error) };
  }
}

/** Its end, as that is the newest; cut after redaction, so that no half of a secret is left. */
function tailOf(text: string, maxBytes: number): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return bytes;
  const note = Buffer.from(`[${bytes.length - maxBytes} bytes before this were left out]\n`);
  return Buffer.concat([note, bytes.subarray(bytes.length - maxBytes)]);
}
