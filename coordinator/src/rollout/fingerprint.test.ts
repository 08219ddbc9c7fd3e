import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fingerprintOf, fingerprintParts } from "./fingerprint.ts";

describe("a failure's fingerprint", () => {
  it.each([
    ["numbers", "exit status 1 after 30.5 s, pid 4711", "exit status 17 after 2 s, pid 9"],
    ["digests", `image sha256:${"a1".repeat(32)} is damaged`, `image sha256:${"0f".repeat(32)} is damaged`],
    ["hexadecimal words", "container 5f3c9a1bd0 died", "container deadbeefcafe died"],
    ["IPv4 with a port", "dial tcp 10.0.0.5:6443: connection refused", "dial tcp 192.168.17.250:443: connection refused"],
    ["IPv6", "dial tcp [fd00::5]:6443: no route to host, from fe80::1", "dial tcp [2001:db8::9]:443: no route to host, from fd00:1::22"],
    ["node names", "lookup web-17.example on dns: no such host", "lookup web-3.example on dns: no such host"],
    ["parts of paths", "write /var/lib/x/pods/8d1f/vol-3/f: no space", "write /var/lib/x/pods/77aa/vol-12/f: no space"],
    ["times", "since 2026-11-22T21:00:03Z it fails", "since 2026-11-23 04:10:59.123 it fails"],
    ["uuids", "pod 0f3a1b2c-1111-4222-8333-abcdefabcdef stuck", "pod 99999999-aaaa-4bbb-8ccc-000000000000 stuck"],
  ])("is the same whatever the %s are", (_what, one, other) => {
    expect(fingerprintOf("s", "Failed", one)).toBe(fingerprintOf("s", "Failed", other));
  });

  it.each([
    ["containerd: Unit containerd.service failed", "kubelet: Unit kubelet.service failed"],
    ["open /etc/containerd/config.toml: permission denied", "open /etc/kubernetes/kubelet.conf: permission denied"],
    ["no space left on device", "read-only file system"],
  ])("tells %j from %j", (one, other) => {
    expect(fingerprintOf("s", "Failed", one)).not.toBe(fingerprintOf("s", "Failed", other));
  });

  it("is of its step and reason too, and reads as people would say it", () => {
    const fingerprint = fingerprintOf("containerd", "RestartFailed", "containerd.service on web-17 left with status 1: see /run/x/77", [
      "web-17",
    ]);
    expect(fingerprint).toBe("containerd: RestartFailed: containerd.service on * left with status *: see /run/x/*");
    expect(fingerprintParts(fingerprint)).toEqual({
      step: "containerd",
      error: "RestartFailed: containerd.service on * left with status *: see /run/x/*",
    });
    expect(fingerprintOf("", "ImpactExceeded", "")).toBe("plan: ImpactExceeded: ");
  });

  it("takes out the node's own name though it has no digit", () => {
    expect(fingerprintOf("s", "F", "host alpha is gone, alphabet is not", ["alpha"])).toBe("s: F: host * is gone, alphabet is not");
  });

  it("is the same for any number, address and digest in one message, and is bounded and quick for any text", () => {
    const number = fc.nat().map(String);
    const address = fc.ipV4();
    const digest = fc.string({ unit: fc.integer({ min: 0, max: 15 }).map((digit) => digit.toString(16)), minLength: 64, maxLength: 64 });
    const text = (n: string, ip: string, hex: string): string => `took ${n} ms, ${ip} said sha256:${hex}`;
    fc.assert(
      fc.property(number, address, digest, number, address, digest, (a, b, c, d, e, f) => {
        expect(fingerprintOf("s", "F", text(a, b, c))).toBe(fingerprintOf("s", "F", text(d, e, f)));
      }),
      { numRuns: 1_000 },
    );
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 2_000 }), (message) => {
        expect(fingerprintOf("s", "F", message).length).toBeLessThanOrEqual(300);
      }),
      { numRuns: 500 },
    );
    const startedAtMs = performance.now();
    for (const unit of ["/a", "a:", "1.", "[:", "::", "a-", "*:"]) fingerprintOf("s", "F", unit.repeat(2_048));
    expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  });
});
