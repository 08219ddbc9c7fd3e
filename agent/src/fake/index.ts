/** The door of fake/: for tests and the simulation only. */
export { type Effect, EffectLog, FakeCrash } from "./effect-log.ts";
export { FakeCommands, type FakeProgram } from "./fake-commands.ts";
export { FakeContainerd, type FakeContainerdOptions } from "./fake-containerd.ts";
export { type FakeFile, FakeFiles } from "./fake-files.ts";
export { type FakeHost, fakeHost, type FakeHostOptions } from "./fake-host.ts";
export { FakeKernel } from "./fake-kernel.ts";
export { fakeSteps } from "./fake-steps.ts";
export { FakeUnits } from "./fake-units.ts";
export { type FakeStepContext, fakeStepContext, FakeStepMemory } from "./fake-step-context.ts";
