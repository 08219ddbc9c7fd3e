/** The shape of /etc/drover/agent.yaml: every key, its default and its limits. Reading files and placing errors is read-config's. */
import * as z from "zod/mini";
import { parseDurationMs } from "@drover/api";

export const DEFAULT_CONFIG_PATH = "/etc/drover/agent.yaml";

const LONGEST_MS = 24 * 60 * 60 * 1000;

function isEndpoint(text: string): boolean {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  return match !== null && port >= 1 && port <= 65_535;
}

function isPlainAbsolutePath(path: string): boolean {
  return path.startsWith("/") && path !== "/" && !path.includes("\0") && !path.split("/").some((part) => part === ".." || part === ".");
}

function checkedText(isFine: (text: string) => boolean, wanted: string) {
  return z.string({ error: `must be text: ${wanted}` }).check(z.refine(isFine, { error: `must be ${wanted}` }));
}

const endpoint = checkedText(isEndpoint, 'a host and a port such as "coordinator.example:7443"');
const caPin = checkedText(
  (text) => /^sha256:[0-9a-f]{64}$/.test(text),
  '"sha256:" and 64 lower-case hex digits; `drover token create` prints it',
);
const path = checkedText(isPlainAbsolutePath, 'an absolute path without "." or ".." in it');
const name = checkedText((text) => /^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/.test(text), "1 to 253 letters, digits, dots, dashes");

function durationMs(text: string): number | undefined {
  return /^(\d{1,9}(ms|s|m|h|d))+$/.test(text) ? parseDurationMs(text) : undefined;
}

function interval(defaultText: string, shortestMs: number) {
  const wanted = 'a duration such as "30s", "10m" or "1h30m"';
  return z._default(
    z.pipe(
      z.string({ error: `must be ${wanted}` }).check(
        z.refine((text) => durationMs(text) !== undefined, { error: `must be ${wanted}`, abort: true }),
        z.refine((text) => isBetween(durationMs(text), shortestMs, LONGEST_MS), { error: `must be between ${shortestMs} ms and 24h` }),
      ),
      z.transform((text) => parseDurationMs(text)),
    ),
    parseDurationMs(defaultText),
  );
}

function isBetween(value: number | undefined, least: number, most: number): boolean {
  return value !== undefined && value >= least && value <= most;
}

const intervals = z.strictObject(
  {
    /** Between two sessions that nobody woke us for, +- 10 %. */
    poll: interval("10m", 100),
    /** Between two drift scans, +- 10 %. */
    driftScan: interval("10m", 100),
  },
  { error: expectedMapping },
);

export const agentConfigSchema = z.strictObject(
  {
    /** Where Enroll and Recover are served, "host:port". */
    coordinator: endpoint,
    /** SPKI SHA-256 of the coordinator's CA. */
    caPin,
    /** Deleted once the machine is enrolled. */
    joinTokenFile: z._default(path, "/etc/drover/join-token"),
    stateDir: z._default(path, "/var/lib/drover-agent"),
    containerdAddress: z._default(path, "/run/containerd/containerd.sock"),
    /** For people; without it the hostname. */
    name: z.optional(name),
    logLevel: z._default(
      z.enum(["trace", "debug", "info", "warn", "error", "fatal"], { error: "must be one of trace, debug, info, warn, error, fatal" }),
      "info",
    ),
    intervals: z.prefault(intervals, {}),
  },
  { error: expectedMapping },
);

function expectedMapping(issue: { readonly code?: string | undefined; readonly keys?: unknown }): string {
  if (issue.code === "unrecognized_keys" && Array.isArray(issue.keys))
    return `has no key ${issue.keys.map((key) => `"${key}"`).join(", ")}`;
  return "must be a mapping of keys to values";
}

/** Times in milliseconds, in `intervals`. */
export type AgentConfig = Readonly<z.infer<typeof agentConfigSchema>>;
