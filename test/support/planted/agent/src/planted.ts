// Planted: the agent must not import the coordinator.
import { openSqliteStore } from "../../../../../coordinator/src/store/sqlite-store.ts";

export const planted = openSqliteStore;
