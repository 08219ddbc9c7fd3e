/** The door of fake/: for tests and the simulation only. */
export { EffectLog, FakeCrash } from "./effect-log.ts";
export { FakeCommands, type FakeProgram } from "./fake-commands.ts";
export { FAKE_CONTAINERD_PATH, fakeContainerdProgram } from "./fake-containerd-program.ts";
export { fakeSourceDigest } from "./fake-downloads.ts";
export { FakeFiles } from "./fake-files.ts";
export { type FakeHost, fakeHost, type FakeHostOptions } from "./fake-host.ts";
export { fakeSteps } from "./fake-steps.ts";
export { fakeStepContext, FakeStepMemory } from "./fake-step-context.ts";
