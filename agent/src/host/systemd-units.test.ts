import { describe, expect, it } from "vitest";
import { FakeCommands, EffectLog } from "../fake/index.ts";
import { SystemdUnits, UnitFailed } from "./systemd-units.ts";

const never = new AbortController().signal;

describe("systemd's units", () => {
  it("are asked by fixed arguments, and say how systemctl failed", async () => {
    const effects = new EffectLog();
    let exitCode = 0;
    const commands = new FakeCommands(effects, { "/bin/systemctl": () => ({ exitCode, stderr: "Job failed" }) });
    const units = new SystemdUnits(commands);
    await units.restart("containerd.service", never);
    expect(await units.isActive("containerd.service", never)).toBe(true);
    exitCode = 3;
    expect(await units.isActive("containerd.service", never)).toBe(false);
    await expect(units.restart("containerd.service", never)).rejects.toThrow("ended with 3: Job failed");
    exitCode = 4;
    expect(await units.isActive("gone.service", never)).toBe(false);
    expect(effects.of("commands.run").map((effect) => effect.target)).toEqual([
      "/bin/systemctl restart containerd.service",
      "/bin/systemctl is-active --quiet containerd.service",
      "/bin/systemctl is-active --quiet containerd.service",
      "/bin/systemctl restart containerd.service",
      "/bin/systemctl is-active --quiet gone.service",
    ]);
  });

  it("reboot without waiting, and only where systemd knows how", async () => {
    const effects = new EffectLog();
    let stdout = "loaded\n";
    const units = new SystemdUnits(new FakeCommands(effects, { "/bin/systemctl": () => ({ stdout }) }));
    expect(await units.canReboot(never)).toBe(true);
    await units.reboot(never);
    stdout = "Id=.service\nMainPID=0\nActiveState=inactive\n";
    expect(await units.canReboot(never)).toBe(false);
    expect(effects.of("commands.run").map((effect) => effect.target)).toEqual([
      "/bin/systemctl show --property=LoadState --value reboot.target",
      "/bin/systemctl reboot --no-block",
      "/bin/systemctl show --property=LoadState --value reboot.target",
    ]);
  });

  it("do not call a unit inactive when systemd gave no answer", async () => {
    for (const answer of [
      { exitCode: 1, stderr: "Failed to connect to bus" },
      { timedOut: true, exitCode: undefined },
    ]) {
      const units = new SystemdUnits(new FakeCommands(new EffectLog(), { "/bin/systemctl": () => answer }));
      await expect(units.isActive("kubelet.service", never)).rejects.toThrow(UnitFailed);
    }
  });

  it("take no name that is an option or a path, and say where systemctl was looked for", async () => {
    const units = new SystemdUnits(new FakeCommands(new EffectLog(), {}));
    for (const name of ["--now", "a/b.service", "a b.service", "containerd", ""]) {
      await expect(units.restart(name, never)).rejects.toThrow(RangeError);
    }
    await expect(units.restart("a.service", never)).rejects.toThrow(UnitFailed);
  });
});
