/** All campaigns; .ci/run does each at a tenth of its count. */
import type { Campaign } from "./campaign.ts";

export const campaigns: readonly Campaign[] = [];
