/** A tar archive of a few small files, as POSIX ustar has it. Pure. */

const BLOCK = 512;

export interface TarFile {
  /** At most 100 ASCII characters. */
  readonly name: string;
  readonly content: Uint8Array;
}

/** @param nowMs when the files were made */
export function tarOf(files: readonly TarFile[], nowMs: number): Buffer {
  const blocks = files.flatMap(({ name, content }) => [
    header(name, content.length, nowMs),
    content,
    Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK),
  ]);
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function header(name: string, size: number, nowMs: number): Buffer {
  if (!/^[\x21-\x7e]{1,100}$/.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of a file in a tar archive`);
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0);
  block.write("0000600\0", 100);
  block.write("0000000\0", 108);
  block.write("0000000\0", 116);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  block.write(
    `${Math.floor(nowMs / 1000)
      .toString(8)
      .padStart(11, "0")}\0`,
    136,
  );
  // The checksum counts itself as blanks.
  block.write(" ".repeat(8), 148);
  block.write("0", 156);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}
