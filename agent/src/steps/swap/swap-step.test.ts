import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SwapMode, type SwapSpec } from "@drover/proto";
import { FakeCrash, fakeHost, type FakeHostOptions, fakeStepContext } from "../../fake/index.ts";
import { SwapFailed } from "../../host/swap-port.ts";
import { markedLines, swapLines, withoutSwap, withSwapAgain } from "./fstab.ts";
import { swapStep } from "./swap-step.ts";

const MIB = 2 ** 20;
const FSTAB = "# disks\nUUID=1 / ext4 defaults 0 1\nUUID=2\tnone\tswap\tsw\t0 0\n  /swapfile none swap sw 0 0\n#/old none swap sw 0 0\n";
const OFF: SwapSpec = { mode: SwapMode.SWAP_MODE_OFF };
const BACK = swapStep.emptySpec;
const partition = { path: "/dev/sda2", kind: "partition", sizeBytes: 1024 * MIB, usedBytes: 100 * MIB, priority: -2 };
const file = { path: "/swapfile", kind: "file", sizeBytes: 512 * MIB, usedBytes: 0, priority: 7 };
const ADMIN_UNIT = "[Swap]\nWhat=/dev/sdb1\n";
const ZRAM = "[zram0]\nzram-size = ram\n";

const FILES = {
  "/etc/fstab": FSTAB,
  "/etc/systemd/system/dev-sdb1.swap": ADMIN_UNIT,
  "/etc/systemd/zram-generator.conf": ZRAM,
  "/usr/lib/systemd/system/zramswap.service": "[Service]\n",
  "/usr/lib/systemd/system/swap.target": "[Unit]\n",
  "/run/systemd/generator/dev-disk-by\\x2duuid-2.swap": "[Unit]\nSourcePath=/etc/fstab\n",
  "/run/systemd/generator.late/dev-disk-by\\x2dpartuuid-9.swap": "[Unit]\nSourcePath=/nowhere\n",
};
const MASKED = ["dev-disk-by\\x2dpartuuid-9.swap", "dev-sdb1.swap", "zramswap.service"];

function machine(options: FakeHostOptions = {}) {
  const host = fakeHost({ files: FILES, swaps: { active: [partition, file] }, ...options });
  const context = fakeStepContext(host);
  const diff = async (spec: SwapSpec) => swapStep.diff(spec, await swapStep.observe(spec, context));
  const apply = async (spec: SwapSpec) => swapStep.apply(spec, await diff(spec), context);
  const state = () => Object.fromEntries(host.files.paths.map((path) => [path, host.files.text(path)]));
  return { host, context, diff, apply, state };
}

describe("the swap step", () => {
  it("switches off what is in use and whatever brings it back, and is in sync afterwards", async () => {
    const { host, apply, diff, state } = machine();
    expect((await diff(OFF)).map(({ path, to }) => `${path} -> ${to}`)).toEqual([
      "/etc/fstab -> ",
      "/etc/fstab -> ",
      ...MASKED.map((unit) => `${unit} -> masked`),
      "/etc/systemd/zram-generator.conf -> none",
      "swap /dev/sda2 -> off",
      "swap /swapfile -> off",
    ]);
    await apply(OFF);
    expect(host.swaps.paths).toEqual([]);
    expect(host.files.text("/etc/fstab")).toBe(
      FSTAB.replace("UUID=2", "# drover: swap off: UUID=2").replace("  /swapfile", "# drover: swap off:   /swapfile"),
    );
    for (const unit of MASKED) expect(await host.files.readLink(`/etc/systemd/system/${unit}`)).toBe("/dev/null");
    expect(state()).toMatchObject({
      "/etc/systemd/system/dev-sdb1.swap.before-drover": ADMIN_UNIT,
      "/etc/systemd/zram-generator.conf.before-drover": ZRAM,
      "/usr/lib/systemd/system/zramswap.service": "[Service]\n",
    });
    expect(host.effects.of("units.daemonReload")).toHaveLength(1);
    expect(await diff(OFF)).toEqual([]);
  });

  it("gives back exactly what it changed, and what others have written since stays", async () => {
    const { host, context, apply, diff, state } = machine();
    const before = state();
    await apply(OFF);
    host.files.put("/etc/fstab", `${host.files.text("/etc/fstab")!}UUID=3 /data ext4 defaults 0 2\n`);
    await apply(BACK);
    expect(state()).toEqual({ ...before, "/etc/fstab": `${FSTAB}UUID=3 /data ext4 defaults 0 2\n` });
    expect(host.effects.of("swaps.on").map(({ target, value }) => [target, value])).toEqual([
      ["/dev/sda2", ""],
      ["/swapfile", "7"],
    ]);
    expect([await context.memory.get(), await diff(BACK)]).toEqual([undefined, []]);
  });

  it("keeps every byte of fstab, whatever its encoding", async () => {
    const text = "UUID=4 /srv/b\xfccher ext4 defaults 0 2\n/ausgelagert-\xc3\xa0 none swap sw 0 0\n# Auslagerung f\xfcr\xff\n";
    const bytes = Buffer.from(text, "latin1");
    const { host, apply, diff } = machine({ files: { "/etc/fstab": { content: bytes } } });
    const fstab = async () => (await host.files.read("/etc/fstab"))?.toString("latin1");
    expect((await diff(OFF))[0]?.from).toBe("/ausgelagert-\u00e0 none swap sw 0 0");
    await apply(OFF);
    expect(await fstab()).toBe(text.replace("/ausgelagert", "# drover: swap off: /ausgelagert"));
    await apply(BACK);
    expect(await fstab()).toBe(text);
  });

  it("leaves a unit that somebody has unmasked to them", async () => {
    const { host, apply } = machine();
    await apply(OFF);
    host.files.put("/etc/systemd/system/zramswap.service", "[Service]\nExecStart=/new\n");
    await apply(BACK);
    expect(host.files.text("/etc/systemd/system/zramswap.service")).toBe("[Service]\nExecStart=/new\n");
  });

  it("touches nothing when what is swapped out does not fit into memory, and may try again", async () => {
    const { host, apply, diff } = machine({ swaps: { active: [partition], availableBytes: 300 * MIB } });
    expect((await diff(OFF)).at(-1)?.note).toContain("100.0 MiB are swapped out");
    await expect(apply(OFF)).rejects.toMatchObject({ reason: "SwapDoesNotFit", isRetryable: true });
    expect(host.effects.all).toEqual([]);
    host.swaps.setAvailableBytes(400 * MIB);
    await apply(OFF);
    expect(await diff(OFF)).toEqual([]);
  });

  it("says which swap did not go off", async () => {
    const { host, apply, diff } = machine();
    host.effects.fail("swaps.off", new SwapFailed("swapoff /dev/sda2 ended with 255: no"));
    await expect(apply(OFF)).rejects.toMatchObject({ reason: "SwapOffFailed", isRetryable: true });
    await apply(OFF);
    expect(await diff(OFF)).toEqual([]);
  });

  it("sees a swap that came back, and gives that back as well", async () => {
    const { host, context, apply, diff } = machine({ files: {}, swaps: {} });
    expect(await diff(OFF)).toEqual([]);
    host.swaps.activate(file);
    expect(await diff(OFF)).toMatchObject([{ path: "swap /swapfile", to: "off", impact: 1 }]);
    expect(swapStep.conditions(OFF, await swapStep.observe(OFF, context))).toMatchObject([{ type: "SwapInUse", status: "True" }]);
    await apply(OFF);
    host.swaps.activate(partition);
    await apply(OFF);
    host.swaps.forget("/swapfile");
    await apply(BACK);
    expect([host.swaps.paths, await context.memory.get()]).toEqual([["/dev/sda2"], undefined]);
    expect(context.lines.at(-2)).toContain("/swapfile: stays off");
  });

  it("edits the files of an image, and nothing that runs", async () => {
    const { host, apply, diff, state } = machine({ isLive: false });
    const before = state();
    await apply(OFF);
    expect(await diff(OFF)).toEqual([]);
    expect(await host.files.readLink("/etc/systemd/system/zramswap.service")).toBe("/dev/null");
    expect([host.swaps.paths.length, host.effects.of("units.daemonReload")]).toEqual([2, []]);
    await apply(BACK);
    expect(state()).toEqual(before);
  });

  it("killed before any effect and run again, ends the same, and without a plan all is as before", async () => {
    for (const next of [OFF, BACK]) {
      for (let survived = 0; ; survived += 1) {
        const { host, context, apply, diff, state } = machine();
        const before = state();
        host.effects.crashAfter(survived);
        const isDead = await runAll([() => apply(OFF), () => apply(next)]);
        host.effects.revive();
        await apply(next);
        expect(await diff(next)).toEqual([]);
        await apply(BACK);
        expect(state()).toEqual(before);
        expect([host.swaps.paths.toSorted(), await context.memory.get()]).toEqual([["/dev/sda2", "/swapfile"], undefined]);
        if (!isDead) break;
        expect(survived).toBeLessThan(60);
      }
    }
  });
});

describe("fstab", () => {
  it("property: whatever is in it, no swap line is left, and all comes back as it was", () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "/a none swap sw 0 0",
        "\t/a  none\tswap",
        "#/a none swap",
        "/a swap ext4",
        "swap",
        "/a none swapfs",
        "/swap.img none swap\r",
      ),
    );
    fc.assert(
      fc.property(fc.array(line.filter((each) => !each.startsWith("# drover"))), (lines) => {
        const text = lines.join("\n");
        const without = withoutSwap(text);
        expect(swapLines(without)).toEqual([]);
        expect(markedLines(without)).toEqual(swapLines(text));
        expect([withoutSwap(without), withSwapAgain(without)]).toEqual([without, text]);
      }),
    );
  });
});

/** @returns whether the fake agent died on the way */
async function runAll(works: readonly (() => Promise<void>)[]): Promise<boolean> {
  try {
    for (const work of works) await work();
    return false;
  } catch (error) {
    if (!(error instanceof FakeCrash)) throw error;
    return true;
  }
}
