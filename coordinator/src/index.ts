/** The one door of coordinator/: the core on ports, the ports, and their forms in memory for simulation and tests. */
export { createCoordinator, type Coordinator, type CoordinatorParts } from "./coordinator.ts";
export type { Bus } from "./bus/bus.ts";
export { MemoryBus, memoryBus } from "./bus/memory-bus.ts";
export type { FleetView, ObservedNode } from "./fleet/fleet.ts";
export { memorySnapshotStore, type SnapshotStore } from "./ingest/snapshot-store.ts";
export type { AuditEntry, DesiredNode, NodeRecord } from "./records.ts";
export { memoryReportLog } from "./reportlog/memory-report-log.ts";
export type { ReportLog } from "./reportlog/report-log.ts";
export { keys } from "./store/keys.ts";
export { memoryStore } from "./store/memory-store.ts";
export type { Store } from "./store/store.ts";
