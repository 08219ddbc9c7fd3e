/** The door of agent/, for the simulation and tests of what crosses packages. */
export { type Agent, type AgentIntervals, type AgentParts, type AgentStatus, createAgent, defaultIntervals } from "./agent.ts";
export type { Host } from "./host/host.ts";
export type { AgentBus, Conversation, DurableLog, LogRecord, Sessions, StateDirectory } from "./ports.ts";
export type { StepTable } from "./reconcile/engine-parts.ts";
export { type Acceptance, acceptPlan } from "./reconcile/accept-plan.ts";
export { beatFlags, slotOf } from "./report/heartbeats.ts";
export { supersededBy } from "./report/report-batches.ts";
export { type Failpoint, failpointFrom, failpointNames } from "./reconcile/failpoints.ts";
export { GrpcSessions } from "./session/grpc-sessions.ts";
export { FileStateDirectory, MemoryStateDirectory, StateIsDown } from "./state/index.ts";
export { FakeCrash, type FakeHost, fakeHost, type FakeHostOptions, fakeSteps } from "./fake/index.ts";
