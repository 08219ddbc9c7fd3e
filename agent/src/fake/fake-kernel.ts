/** /proc/sys, mounts and boot id in memory. */
import type { Kernel } from "../host/host.ts";
import type { EffectLog } from "./effect-log.ts";

export class FakeKernel implements Kernel {
  readonly #effects: EffectLog;
  readonly #values: Map<string, string>;
  readonly #mountPoints: Set<string>;
  readonly #ignored = new Set<string>();
  #bootId: string;
  #uptimeMs = (): number => 0;

  constructor(effects: EffectLog, sysctls: Readonly<Record<string, string>>, mountPoints: readonly string[], bootId: string) {
    this.#effects = effects;
    this.#values = new Map(Object.entries(sysctls));
    this.#mountPoints = new Set(mountPoints);
    this.#bootId = bootId;
  }

  /** By the test's hand; undefined removes the key. */
  set(key: string, value: string | undefined): void {
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
  }

  value(key: string): string | undefined {
    return this.#values.get(key);
  }

  /** Writes to this key are taken without an error and do nothing, as some kernels do. */
  ignoreWrites(key: string): void {
    this.#ignored.add(key);
  }

  mount(path: string): void {
    this.#mountPoints.add(path);
  }

  /** Another boot. */
  reboot(bootId: string): void {
    this.#bootId = bootId;
  }

  /** By default no time passes since the boot. */
  countUptime(uptimeMs: () => number): void {
    this.#uptimeMs = uptimeMs;
  }

  async readSysctl(key: string): Promise<string | undefined> {
    this.#effects.assertAlive();
    return this.#values.get(key)?.trim().replace(/\s+/g, " ");
  }

  async writeSysctl(key: string, value: string): Promise<void> {
    this.#effects.record("kernel.writeSysctl", key, value);
    if (!this.#values.has(key)) throw Object.assign(new Error(`no sysctl ${key}`), { code: "ENOENT" });
    if (!this.#ignored.has(key)) this.#values.set(key, value);
  }

  async isMountPoint(path: string): Promise<boolean> {
    this.#effects.assertAlive();
    return this.#mountPoints.has(path);
  }

  async uptimeMs(): Promise<number> {
    this.#effects.assertAlive();
    return this.#uptimeMs();
  }

  async bootId(): Promise<string> {
    this.#effects.assertAlive();
    return this.#bootId;
  }
}
