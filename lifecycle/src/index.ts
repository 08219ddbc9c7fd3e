/** The one door of lifecycle/: time, randomness, deadlines, orderly starts and stops. */
export { type Backoff, exponentialBackoff } from "./backoff.ts";
export { type Clock, sleep, systemClock } from "./clock.ts";
export { DeadlineExceeded, withDeadline } from "./deadline.ts";
export { type InstanceLock, lockDirectory } from "./instance-lock.ts";
export { type Log, silentLog } from "./log.ts";
export { jittered, type Random, seededRandom, systemRandom } from "./random.ts";
export { type Component, runGroup } from "./run-group.ts";
export { Secret } from "./secret.ts";
export { StopRequested, stopSignal } from "./signals.ts";
export { VirtualClock } from "./virtual-clock.ts";
