/** Repull on a real containerd: content that the disk damaged is found by its digest, removed and pulled anew. */
import { createHash } from "node:crypto";
import { readFile, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { silentLog, systemClock } from "@drover/lifecycle";
import { ImagesSpec, Plan, RunRung } from "@drover/proto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fakeHost } from "../../../agent/src/fake/index.ts";
import { ContainerdClient } from "../../../agent/src/host/containerd/containerd-client.ts";
import { emptyJournal } from "../../../agent/src/reconcile/journal-state.ts";
import type { RungEnd } from "../../../agent/src/reconcile/rung-book.ts";
import { Rungs } from "../../../agent/src/reconcile/rungs.ts";
import { Turns } from "../../../agent/src/reconcile/turns.ts";
import { OutputRing } from "../../../agent/src/report/output-ring.ts";
import { MemoryStateDirectory } from "../../../agent/src/state/index.ts";
import { imagesStep } from "../../../agent/src/steps/images/images-step.ts";
import { type RunningContainerd, type RunningRegistry, startContainerd, startRegistry } from "../../support/containerd/index.ts";
import { makeImage, makeIndex, MACHINE_ARCHITECTURE, pushImage, pushIndex } from "../../support/images/index.ts";

const MIB = 2 ** 20;
const plain = makeImage({ sizeBytes: 9 * MIB, seed: 31, layerCount: 2 });
const inIndex = makeImage({ sizeBytes: 64 * 1024, seed: 32 });
const index = makeIndex({ [MACHINE_ARCHITECTURE]: inIndex });

describe("Repull on a real containerd", () => {
  let registry: RunningRegistry;
  let containerd: RunningContainerd;
  let client: ContainerdClient;
  let rungs: Rungs;
  const stop = new AbortController();

  beforeEach(async () => {
    registry = await startRegistry();
    await pushImage(registry.url, "team/plain", "1", plain);
    await pushIndex(registry.url, "team/index", "1", index);
    containerd = await startContainerd({ mirrors: { "r.test": [registry.url] } });
    client = new ContainerdClient({ socketPath: containerd.socketPath });
    const spec = ImagesSpec.fromPartial({
      images: [
        { name: "r.test/team/plain:1", digest: plain.digest, sizeBytes: plain.sizeBytes },
        { name: "r.test/team/index:1", digest: index.digest, sizeBytes: inIndex.sizeBytes },
      ],
    });
    const plan = Plan.fromPartial({ generation: 3, steps: [{ id: "images", spec: { $case: "images", value: spec } }] });
    const enforced = { planEpoch: 1, generation: 3, plan: Buffer.from(Plan.encode(plan).finish()).toString("base64") };
    const state = new MemoryStateDirectory();
    rungs = await Rungs.open({
      host: { ...fakeHost(), containerd: client },
      clock: systemClock,
      state,
      turns: new Turns(systemClock),
      journal: () => ({ ...emptyJournal, enforced }),
      imagesStep,
      output: await OutputRing.open(state),
      showProgress: () => undefined,
      isInChange: () => Promise.resolve(false),
      log: silentLog,
    });
  });

  afterEach(async () => {
    client?.close();
    await containerd?.stop();
    await registry?.stop();
  });

  const blobAt = (digest: string): string =>
    join(containerd.rootDirectory, "io.containerd.content.v1.content/blobs/sha256", digest.slice("sha256:".length));

  async function repull(requestId: string): Promise<RungEnd | undefined> {
    let end: RungEnd | undefined;
    await rungs.ask(
      RunRung.create({ requestId: requestId.replaceAll(" ", "-"), rung: { $case: "repull", value: {} } }),
      async (each) => void (end = each),
    );
    return end;
  }

  async function isWhole(digest: string): Promise<boolean> {
    return (
      `sha256:${createHash("sha256")
        .update(await readFile(blobAt(digest)))
        .digest("hex")}` === digest
    );
  }

  test("heals layers that were overwritten, cut short or lost, a configuration, and an index with what it names", async () => {
    expect(await repull("first")).toEqual({ done: true, reason: "", message: "0 damaged blobs removed, 2 images brought back" });
    expect(await repull("whole")).toEqual({ done: true, reason: "", message: "0 damaged blobs removed, 0 images brought back" });
    const [lower, upper] = plain.layers.map(({ digest }) => digest) as [string, string];
    const flip = async (digest: string): Promise<void> => {
      const bytes = await readFile(blobAt(digest));
      bytes[bytes.length - 1]! ^= 0xff;
      await writeFile(blobAt(digest), bytes);
    };
    const damages: readonly (readonly [string, readonly string[], () => Promise<void>])[] = [
      ["a bit", [lower], () => flip(lower)],
      ["cut short", [upper], () => truncate(blobAt(upper), 4096)],
      ["lost", [upper], () => unlink(blobAt(upper))],
      ["a configuration", [plain.config.digest], () => flip(plain.config.digest)],
      ["a manifest", [plain.digest], () => flip(plain.digest)],
      [
        "an index, and a layer that only it leads to",
        [index.digest, inIndex.layers[0]!.digest],
        async () => {
          await flip(index.digest);
          await flip(inIndex.layers[0]!.digest);
        },
      ],
    ];
    for (const [what, digests, damage] of damages) {
      await damage();
      expect(await repull(what), what).toMatchObject({ done: true, message: expect.stringContaining("removed") });
      for (const digest of digests) expect(await isWhole(digest), `${what}: ${digest}`).toBe(true);
      const complete = await client.findComplete([plain.digest, index.digest], stop.signal);
      expect([...complete].sort(), what).toEqual([plain.digest, index.digest].sort());
    }
  });

  test("says that the registry does not answer, and that containerd does not", async () => {
    expect(await repull("first")).toMatchObject({ done: true });
    await unlink(blobAt(plain.layers[0]!.digest));
    await registry.stop();
    expect(await repull("no registry")).toMatchObject({ done: false, reason: "PullFailed" });
    await containerd.kill();
    expect(await repull("no containerd")).toMatchObject({ done: false, reason: "ContainerdUnavailable" });
  });
});
