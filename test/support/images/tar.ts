/** Tars made in memory, equal bytes for equal content. */

export interface TarFile {
  readonly path: string;
  readonly content: Uint8Array;
  /** Default 0644. */
  readonly mode?: number;
}

const BLOCK_BYTES = 512;

export function makeTar(files: readonly TarFile[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const file of files) {
    parts.push(tarHeader(file), file.content, Buffer.alloc((BLOCK_BYTES - (file.content.length % BLOCK_BYTES)) % BLOCK_BYTES));
  }
  parts.push(Buffer.alloc(2 * BLOCK_BYTES));
  return Buffer.concat(parts);
}

function tarHeader(file: TarFile): Buffer {
  if (Buffer.byteLength(file.path) > 100) throw new Error(`${file.path} is too long for a plain tar header`);
  const header = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, "0")}\0`;
  header.write(file.path, 0);
  header.write(octal(file.mode ?? 0o644, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  header.write(octal(file.content.length, 12), 124);
  header.write(octal(0, 12), 136);
  header.fill(" ", 148, 156);
  header.write("0", 156);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}
