/** Values of options that several commands share. */
import { InvalidArgumentError, Option } from "commander";
import { parseDurationMs, parseSelector } from "@drover/api";

export { type OutputFormat, outputFormats } from "./output/print-objects.ts";

/** "90s", "1h30m" -> milliseconds. */
export function durationOption(text: string): number {
  const ms = /^(\d+(ms|s|m|h|d))+$/.test(text) ? parseDurationMs(text) : 0;
  if (ms <= 0) throw new InvalidArgumentError("must be a duration such as 30s, 5m or 1h30m.");
  return ms;
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("must be a whole number above 0.");
  return value;
}

export function manifestFiles(): Option {
  return new Option("-f, --filename <path...>", "file, folder, or - for standard input").default([]);
}

export function selectorFlag(): Option {
  return new Option("-l, --selector <selector>", "label selector, such as zone=a,tier!=db").default("").argParser(selectorOption);
}

function selectorOption(text: string): string {
  const parsed = parseSelector(text);
  if (!parsed.ok) throw new InvalidArgumentError(parsed.message);
  return text;
}
