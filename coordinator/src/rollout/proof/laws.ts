/** All laws of decide(); each a sentence that holds for every situation. */
import { accountLaws } from "./account-laws.ts";
import type { Law } from "./law.ts";
import { limitLaws } from "./limit-laws.ts";
import { maintenanceLaws } from "./maintenance-laws.ts";
import { repeatLaws } from "./repeat-laws.ts";
import { restraintLaws } from "./restraint-laws.ts";
import { waveLaws } from "./wave-laws.ts";

export const laws: readonly Law[] = [...limitLaws, ...restraintLaws, ...waveLaws, ...maintenanceLaws, ...accountLaws, ...repeatLaws];
