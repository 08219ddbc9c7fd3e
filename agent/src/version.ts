/** What this agent is: its version, and when it was built. The single executable's build bakes both in. */
import manifest from "../package.json" with { type: "json" };

declare const DROVER_BUILD_DATE_MS: number | undefined;

/** Of the first commit of this version; a clock before it is wrong for certain. */
const RELEASED_MS = Date.UTC(2026, 0, 1);

export const agentVersion: string = manifest.version;

/** Unix milliseconds. */
export const buildDateMs: number = typeof DROVER_BUILD_DATE_MS === "number" ? DROVER_BUILD_DATE_MS : RELEASED_MS;
