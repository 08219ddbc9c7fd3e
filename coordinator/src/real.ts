/** The door for who composes a coordinator on real parts with parts of its own: the simulator. */
export { loadConfig } from "./config/config.ts";
export type { Coordinator } from "./coordinator.ts";
export { dataFiles } from "./data-files.ts";
export { isAlive, readRecord, terminate } from "./bus/nats-process.ts";
export { renderNatsConfig } from "./bus/nats-config.ts";
export { openNatsTrust } from "./bus/nats-trust.ts";
export { Nkey, publicNkey } from "./bus/nkey.ts";
export type { ConnectTcp } from "./fleet/tcp-path.ts";
export { tcpConnect } from "./fleet/tcp-connect.ts";
export { type Authority, openAuthority } from "./identity/authority.ts";
export { makeOperator } from "./local-commands.ts";
export { countReports } from "./reportlog/report-count.ts";
export { openSqliteReportLog } from "./reportlog/sqlite-report-log.ts";
export { NodeMap } from "./resources/node-map.ts";
export { seedFleet, type SeedFleet, type SeedNode } from "./seed-fleet.ts";
export { serve } from "./serve.ts";
