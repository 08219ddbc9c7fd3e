/** Values of options that several commands share. */
import { InvalidArgumentError } from "commander";
import { parseDurationMs } from "@drover/api";

export { type OutputFormat, outputFormats } from "./output/print-objects.ts";

/** "90s", "1h30m" -> milliseconds. */
export function durationOption(text: string): number {
  const ms = /^(\d+(ms|s|m|h|d))+$/.test(text) ? parseDurationMs(text) : 0;
  if (ms <= 0) throw new InvalidArgumentError("must be a duration such as 30s, 5m or 1h30m.");
  return ms;
}
