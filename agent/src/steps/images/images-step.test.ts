import { ImagesSpec, Impact } from "@drover/proto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeCrash, type FakeHost, fakeHost, type FakeHostOptions, fakeStepContext, FakeStepMemory } from "../../fake/index.ts";
import { ContainerdError } from "../../host/containerd-port.ts";
import type { StepContext } from "../step.ts";
import { imageInventory } from "./conditions.ts";
import { imagesStep } from "./images-step.ts";

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const A = { name: "r.example/a:1", digest: digest("a"), sizeBytes: 3000, pinned: true, archive: "" };
const B = { name: "r.example/b:1", digest: digest("b"), sizeBytes: 1000, pinned: true, archive: "" };
const C = { name: "c:1", digest: digest("c"), sizeBytes: 2000, pinned: false, archive: "/images/c.tar" };
const PINNED = { "io.cri-containerd.pinned": "pinned" };

const world: FakeHostOptions["containerd"] = {
  registry: { [`r.example/a@${A.digest}`]: 3000, [`r.example/b@${B.digest}`]: 1000 },
  archives: { "/images/c.tar": { sizeBytes: 2000, images: [{ name: "docker.io/library/c:1", digest: C.digest }] } },
};
const spec = (...images: readonly Partial<typeof A>[]): ImagesSpec => ImagesSpec.fromPartial({ images: [...images] });

async function settle(wanted: ImagesSpec, context: StepContext): Promise<void> {
  const changes = imagesStep.diff(wanted, await imagesStep.observe(wanted, context));
  if (changes.length > 0) await imagesStep.apply(wanted, changes, context);
}

async function diff(wanted: ImagesSpec, context: StepContext) {
  return imagesStep.diff(wanted, await imagesStep.observe(wanted, context));
}

async function condition(type: string, wanted: ImagesSpec, context: StepContext) {
  return imagesStep.conditions(wanted, await imagesStep.observe(wanted, context)).find((each) => each.type === type);
}

const pinOf = (host: FakeHost, name: string): string | undefined =>
  host.containerd.images.find((image) => image.name === name)?.labels["io.cri-containerd.pinned"];

describe("images", () => {
  test("what is missing is a live change each, and after applying nothing differs", async () => {
    const host = fakeHost({ containerd: world });
    const context = fakeStepContext(host);
    const wanted = spec(A, B, C);
    const changes = await diff(wanted, context);
    expect(changes.map((change) => [change.path, change.from, change.to])).toEqual([
      ["r.example/a:1", "", A.digest],
      ["r.example/b:1", "", B.digest],
      ["docker.io/library/c:1", "", C.digest],
    ]);
    expect(new Set(changes.map((change) => change.impact))).toEqual(new Set([Impact.IMPACT_LIVE]));
    await imagesStep.apply(wanted, changes, context);
    expect(await diff(wanted, context)).toEqual([]);
    expect(await condition("ImagesPresent", wanted, context)).toMatchObject({ status: "True", reason: "AllPresent" });
    expect(await condition("ImagesProtected", wanted, context)).toMatchObject({ status: "True", reason: "Pinned" });
    expect(imageInventory(wanted, await imagesStep.observe(wanted, context))).toHaveLength(3);
  });

  test("the smallest comes first, and bytes rise to the lock's sum", async () => {
    const host = fakeHost({ containerd: world });
    const context = fakeStepContext(host);
    await settle(ImagesSpec.fromPartial({ images: [A, B, C], maxParallel: 1 }), context);
    expect(host.effects.summary.filter((line) => /pull|import/.test(line))).toEqual([
      `containerd.pull r.example/b@${B.digest}`,
      "containerd.importArchive /images/c.tar",
      `containerd.pull r.example/a@${A.digest}`,
    ]);
    const done = context.progressed.map((progress) => progress.doneBytes);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(context.progressed.at(-1)).toMatchObject({ item: "r.example/a:1", doneBytes: 6000, totalBytes: 6000 });
  });

  test("a lock that does not fit pulls nothing and says the figures", async () => {
    const host = fakeHost({ containerd: world, freeBytes: 30 * 2 ** 20 });
    const wanted = ImagesSpec.fromPartial({ images: [{ ...A, sizeBytes: 10 * 2 ** 20 }], minFreeBytes: 2 ** 20 });
    await expect(settle(wanted, fakeStepContext(host))).rejects.toMatchObject({
      reason: "DiskBudget",
      message: "31.0 MiB needed (3 x 10.0 MiB compressed, and 1.0 MiB to stay free), 30.0 MiB free: nothing was pulled",
    });
    expect(host.effects.of("containerd.pull")).toEqual([]);
  });

  test("one that cannot be had does not keep the others away, and is named with its reason", async () => {
    const host = fakeHost({ containerd: world });
    const context = fakeStepContext(host);
    const gone = { ...A, name: "r.example/gone:1", digest: digest("d"), sizeBytes: 10 };
    const notInArchive = { ...C, name: "r.example/other:1", digest: digest("e") };
    const wanted = spec(gone, notInArchive, A, B);
    const failure = await settle(wanted, context).catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: "StepError", reason: "PullFailed", isRetryable: true });
    expect((failure as Error).message).toContain("2 of 4: ");
    expect((failure as Error).message).toContain("r.example/gone:1: NotFound: ");
    expect((failure as Error).message).toContain("r.example/other:1: DigestNotInArchive: ");
    expect((await diff(wanted, context)).map((change) => change.path)).toEqual(["r.example/gone:1", "r.example/other:1"]);
    expect(await condition("ImagesPresent", wanted, context)).toMatchObject({
      status: "False",
      message: "2 images missing: r.example/gone:1, r.example/other:1",
    });
  });

  test("a blob that a power cut took from containerd is removed from its records and fetched again", async () => {
    const host = fakeHost({ containerd: world });
    const context = fakeStepContext(host);
    host.containerd.loseBlob(A.digest);
    await settle(spec(A, B), context);
    expect(host.effects.of("containerd.dropDamaged")).toHaveLength(1);
    expect(host.effects.of("containerd.pull")).toHaveLength(3);
    expect(await diff(spec(A, B), context)).toEqual([]);
  });

  test("a name that points elsewhere is moved without a pull when the content is there", async () => {
    const host = fakeHost({
      containerd: {
        ...world,
        images: [
          { name: A.name, digest: digest("f"), labels: {} },
          { name: "x.example/a:1", digest: A.digest, labels: {} },
        ],
      },
    });
    const context = fakeStepContext(host);
    const wanted = spec(A);
    expect(await diff(wanted, context)).toMatchObject([{ path: A.name, from: digest("f"), to: A.digest }]);
    await settle(wanted, context);
    expect(host.effects.of("containerd.pull")).toEqual([]);
    expect(await diff(wanted, context)).toEqual([]);
  });

  test("two names of one digest are one transfer", async () => {
    const host = fakeHost({ containerd: world });
    const context = fakeStepContext(host);
    const wanted = spec(A, { ...A, name: "r.example/alias:1", pinned: false });
    await settle(wanted, context);
    expect(host.effects.of("containerd.pull")).toHaveLength(1);
    expect(await diff(wanted, context)).toEqual([]);
  });

  test("a lost pin is put back, and one that left the lock is taken off when it was ours", async () => {
    const host = fakeHost({ containerd: { ...world, images: [{ name: "r.example/b:1", digest: B.digest, labels: PINNED }] } });
    const context = fakeStepContext(host);
    await settle(spec(A, B), context);
    await host.containerd.putImage(A.name, A.digest, { "io.cri-containerd.pinned": undefined }, context.signal);
    expect(await diff(spec(A, B), context)).toMatchObject([{ path: "r.example/a:1 pin", from: "", to: "pinned" }]);
    await settle(spec(A, B), context);
    expect(pinOf(host, A.name)).toBe("pinned");
    expect(await context.memory.get()).toEqual({ pins: [A.name] });

    expect(await diff(imagesStep.emptySpec, context)).toMatchObject([{ path: "r.example/a:1 pin", from: "pinned", to: "" }]);
    await settle(imagesStep.emptySpec, context);
    expect(pinOf(host, A.name)).toBeUndefined();
    expect(pinOf(host, B.name)).toBe("pinned");
    expect(await context.memory.get()).toBeUndefined();
  });

  test("a runtime that ignores pins is told as such, and what it collects is fetched again", async () => {
    const host = fakeHost({ containerd: { ...world, version: "1.6.20" } });
    const context = fakeStepContext(host);
    await settle(spec(A), context);
    expect(await diff(spec(A), context)).toEqual([]);
    expect(await condition("ImagesProtected", spec(A), context)).toMatchObject({ status: "False", reason: "RuntimeIgnoresPins" });
    host.containerd.collect(A.digest);
    expect(await diff(spec(A), context)).toHaveLength(1);
    await settle(spec(A), context);
    expect(host.effects.of("containerd.pull")).toHaveLength(2);
    expect(await diff(spec(A), context)).toEqual([]);
  });

  test("on an image that does not run nothing is claimed", async () => {
    const context = fakeStepContext(fakeHost({ isLive: false }));
    expect(await diff(spec(A), context)).toEqual([]);
    expect(await condition("ImagesPresent", spec(A), context)).toMatchObject({ status: "Unknown", reason: "NotLive" });
  });

  test.each([
    ["a name without tag", spec({ ...A, name: "r.example/a" }), "InvalidImage"],
    ["a short digest", spec({ ...A, digest: "sha256:00" }), "InvalidImage"],
    ["an archive above", spec({ ...A, archive: "/images/../etc/shadow" }), "InvalidImage"],
    ["a relative archive", spec({ ...A, archive: "c.tar" }), "InvalidImage"],
    ["one name twice", spec(A, { ...A, digest: B.digest }), "ConflictingImages"],
  ])("%s is refused", async (_what, wanted, reason) => {
    const observed = await imagesStep.observe(spec(), fakeStepContext(fakeHost()));
    expect(imagesStep.refuse(wanted, observed)).toMatchObject({ reason });
  });

  test("a containerd that does not answer is a failure to try again", async () => {
    const host = fakeHost({ containerd: world });
    host.containerd.listImages = () => Promise.reject(new ContainerdError("Unavailable", "nobody there"));
    await expect(imagesStep.observe(spec(A), fakeStepContext(host))).rejects.toMatchObject({
      reason: "ContainerdUnavailable",
      isRetryable: true,
    });
  });

  test("killed after any effect and run again it ends in sync, and what was whole is not fetched twice", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(12), { maxLength: 4 }), fc.subarray([A, B, C], { minLength: 1 }), async (crashes, images) => {
        const host = fakeHost({ containerd: world });
        const memory = new FakeStepMemory(host);
        const wanted = ImagesSpec.fromPartial({ images, maxParallel: 1 });
        for (const effects of crashes) {
          host.effects.crashAfter(effects);
          await settle(wanted, fakeStepContext(host, { memory })).catch((error: unknown) => expect(error).toBeInstanceOf(FakeCrash));
          host.effects.revive();
        }
        const context = fakeStepContext(host, { memory });
        await settle(wanted, context);
        expect(await diff(wanted, context)).toEqual([]);
        for (const image of images) {
          const fetches = host.effects.all.filter(
            (effect) => /pull|import/.test(effect.kind) && `${effect.target}${effect.value}`.includes(image.digest),
          );
          expect(fetches).toHaveLength(1);
        }
        await settle(imagesStep.emptySpec, context);
        expect(await memory.get()).toBeUndefined();
        for (const image of images) expect(pinOf(host, image.name)).toBeUndefined();
      }),
      { numRuns: 60 },
    );
  });
});
