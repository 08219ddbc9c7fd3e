/** /etc/fstab: lines of type swap go behind a marker that keeps them as they are, and come back from there. Text is bytes as latin1. Pure. */

export const FSTAB = "/etc/fstab";
const MARKER = "# drover: swap off: ";

/** Lines of type swap, as they stand. */
export function swapLines(text: string): readonly string[] {
  return text.split("\n").filter(isSwapLine);
}

/** Lines that we have put behind the marker, as they were. */
export function markedLines(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => (line.startsWith(MARKER) ? [line.slice(MARKER.length)] : []));
}

export function withoutSwap(text: string): string {
  return text
    .split("\n")
    .map((line) => (isSwapLine(line) ? `${MARKER}${line}` : line))
    .join("\n");
}

/** Every other line stays as it is, whoever wrote it meanwhile. */
export function withSwapAgain(text: string): string {
  return text
    .split("\n")
    .map((line) => (line.startsWith(MARKER) ? line.slice(MARKER.length) : line))
    .join("\n");
}

function isSwapLine(line: string): boolean {
  const [source, , type] = line.trim().split(/[ \t]+/);
  return type === "swap" && source?.startsWith("#") === false;
}
