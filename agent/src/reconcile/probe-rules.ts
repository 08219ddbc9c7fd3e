/** What a probe of a plan must be before it may ever be asked. Pure. */
import type { Probe } from "@drover/proto";

const MAX_PROBES = 16;
const MAX_TIMEOUT_MS = 60_000;
const MAX_URL_LENGTH = 2048;
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** @returns what is wrong with them; undefined: nothing */
export function findInvalidProbe(probes: readonly Probe[]): string | undefined {
  if (probes.length > MAX_PROBES) return `plan has ${probes.length} probes, more than ${MAX_PROBES}`;
  const names = new Set<string>();
  for (const { name, target, timeoutMs } of probes) {
    if (!NAME.test(name)) return `${JSON.stringify(name)} is no name of a probe: lower-case letters, digits and dashes`;
    // Both would be told as the same condition.
    if (names.has(name)) return `two probes have the name ${name}`;
    names.add(name);
    if (timeoutMs < 1 || timeoutMs > MAX_TIMEOUT_MS)
      return `probe ${name}: a timeout of ${timeoutMs} ms is not from 1 to ${MAX_TIMEOUT_MS}`;
    const wrong = wrongTarget(target);
    if (wrong !== undefined) return `probe ${name}: ${wrong}`;
  }
  return undefined;
}

function wrongTarget(target: Probe["target"]): string | undefined {
  switch (target?.$case) {
    case "tcpPort":
      return target.value >= 1 && target.value <= 65_535 ? undefined : `${target.value} is no TCP port`;
    case "httpUrl": {
      const url = target.value.length > MAX_URL_LENGTH ? null : URL.parse(target.value);
      return url?.protocol === "http:" || url?.protocol === "https:" ? undefined : "http_url is no URL of http or https";
    }
    case undefined:
      return "it has neither http_url nor tcp_port";
  }
}
