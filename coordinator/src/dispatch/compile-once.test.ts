import { compile, type NodeProfile } from "@drover/api";
import { Facts } from "@drover/proto";
import fc from "fast-check";
import { expect, it } from "vitest";
import { compileOnce } from "./compile-once.ts";

const profile = (max: number): NodeProfile => ({
  apiVersion: "drover.dev/v1alpha1",
  kind: "NodeProfile",
  metadata: { name: "web" },
  spec: { sysctl: { values: { "fs.inotify.max_user_watches": String(max) } }, containerd: { maxConcurrentDownloads: 3 } },
});

it("is what compile() says, whatever a node's facts are", () => {
  const shared = profile(4096);
  const version = fc.constantFrom("", "1.6.20", "1.7.24", "2.1.0", "0.9", "1.20.2", "1.31.0");
  const facts = fc
    .record({
      hostname: fc.string(),
      kernel: fc.string(),
      cpus: fc.nat(),
      architecture: fc.string(),
      containerd: version,
      kubelet: version,
    })
    .map(({ containerd, kubelet, ...rest }) => Facts.fromPartial({ ...rest, versions: { containerd, kubelet } }));
  fc.assert(
    fc.property(fc.option(facts, { nil: undefined }), (each) => {
      expect(compileOnce(shared, [], each, undefined)).toEqual(compile(shared, [], each));
    }),
    { numRuns: 500 },
  );
});

it("is done once for nodes with the same versions, and anew for another profile", () => {
  const [one, other] = [profile(4096), profile(8192)];
  const factsOf = (hostname: string): Facts => Facts.fromPartial({ hostname, versions: { containerd: "1.7.24" } });
  const first = compileOnce(one, [], factsOf("a"), undefined);
  expect(compileOnce(one, [], factsOf("b"), undefined)).toBe(first);
  expect(compileOnce(other, [], factsOf("b"), undefined)).not.toEqual(first);
});
