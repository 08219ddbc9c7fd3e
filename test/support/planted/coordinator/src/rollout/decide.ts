// Planted: decide() is pure.
import { readFile } from "node:fs/promises";

export const planted = [readFile, Date.now()];
