/** A gzipped tar archive of a few small files, as POSIX ustar has it. */
import { gzipSync } from "node:zlib";
import { TAR_BLOCK_BYTES } from "./tar-header.ts";

export interface TarFile {
  /** At most 100 printable ASCII characters without blanks. */
  readonly name: string;
  readonly content: Uint8Array;
}

/** At once: a bundle is small, and a pool of threads would make when it is ready depend on more than its input. @param nowMs when the files were made, Unix milliseconds. @throws RangeError for a name that does not fit */
export function gzippedTar(files: readonly TarFile[], nowMs: number): Buffer {
  const blocks = files.flatMap(({ name, content }) => [
    header(name, content.length, nowMs),
    content,
    Buffer.alloc((TAR_BLOCK_BYTES - (content.length % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES),
  ]);
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(2 * TAR_BLOCK_BYTES)]));
}

function header(name: string, size: number, nowMs: number): Buffer {
  if (!/^[\x21-\x7e]{1,100}$/.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of a file in a tar archive`);
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  const octal = (value: number): string => `${Math.floor(value).toString(8).padStart(11, "0")}\0`;
  block.write(name, 0);
  block.write("0000600\0", 100);
  block.write("0000000\0", 108);
  block.write("0000000\0", 116);
  block.write(octal(size), 124);
  block.write(octal(nowMs / 1000), 136);
  // The checksum counts itself as blanks.
  block.write(" ".repeat(8), 148);
  block.write("0", 156);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}
