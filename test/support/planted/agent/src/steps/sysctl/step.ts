// Planted: `npm run check` fails when the import rules do NOT complain about this file (see check-import-rules.mjs).
import { readFileSync } from "node:fs";
import pQueue from "p-queue";
import { createCoordinator } from "@drover/coordinator";

export const planted = [readFileSync, pQueue, createCoordinator, Date.now()];
