/** The door of state/: durable files and logs, on disk and in memory. */
export { FileStateDirectory } from "./file-state-directory.ts";
export { MemoryStateDirectory, StateIsDown } from "./memory-state-directory.ts";
