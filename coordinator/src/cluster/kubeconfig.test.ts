import { describe, expect, it } from "vitest";
import { Secret } from "@drover/lifecycle";
import { readKubeconfig, writeKubeconfig } from "./kubeconfig.ts";
import { base64, certificateUser, type KubeconfigParts, otherKey, testCertificate, testKubeconfig } from "./kubeconfig-fixture.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const CERTIFICATE = { token: undefined, ...certificateUser };
const noAuthority = await testCertificate(false);
const ended = await testCertificate(false, Date.UTC(2020, 0, 1));

const refusals: readonly [string, KubeconfigParts, RegExp][] = [
  ["no current context", { top: { "current-context": "" } }, /^current-context is not set; choose one/],
  ["a current context that is not there", { top: { "current-context": "other" } }, /^contexts has no entry/],
  [
    "two contexts of one name",
    {
      top: {
        contexts: [
          { name: "x", context: {} },
          { name: "x", context: {} },
        ],
      },
    },
    /^contexts has 2 entries/,
  ],
  ["no cluster of the context's name", { top: { clusters: [] } }, /^clusters has no entry/],
  ["another kind", { top: { kind: "Secret" } }, /^it is no kubeconfig/],
  ["a CA in a file", { cluster: { "certificate-authority": "/etc/ca.crt" } }, /^certificate-authority of its cluster names a file/],
  ["no CA", { cluster: { "certificate-authority-data": undefined } }, /^certificate-authority-data of its cluster is missing/],
  ["a CA that is no base64", { cluster: { "certificate-authority-data": "§" } }, /is no base64$/],
  ["a CA that is no PEM", { cluster: { "certificate-authority-data": base64("x") } }, /is no PEM in base64$/],
  ["a CA that is none", { cluster: { "certificate-authority-data": base64(noAuthority.certificate) } }, /holds no CA certificate$/],
  ["blind trust", { cluster: { "insecure-skip-tls-verify": true } }, /^insecure-skip-tls-verify of its cluster would trust any server/],
  ["a proxy", { cluster: { "proxy-url": "http://p:1" } }, /^proxy-url of its cluster/],
  ["plain http", { cluster: { server: "http://10.0.0.1:8080" } }, /must be https$/],
  ["a server that is no URL", { cluster: { server: "10.0.0.1:6443" } }, /^server of its cluster (is no URL|must be https)$/],
  ["a path in the server", { cluster: { server: "https://rancher.example/k8s/clusters/c-1" } }, /has a path/],
  ["a password in the server", { cluster: { server: "https://canary-token:x@10.0.0.1:6443" } }, /holds a password$/],
  ["an unknown field", { cluster: { servre: "x" } }, /^servre of its cluster is not known here$/],
  [
    "a program for credentials",
    { user: { token: undefined, exec: { command: "aws" } } },
    /^exec of its user the coordinator runs no programs/,
  ],
  ["an auth provider", { user: { "auth-provider": { name: "gcp" } } }, /^auth-provider of its user/],
  ["a token file", { user: { token: undefined, tokenFile: "/t" } }, /^tokenFile of its user names a file/],
  ["a key in a file", { user: { "client-key": "/k" } }, /^client-key of its user names a file/],
  ["a user name", { user: { username: "ann", password: "canary-token" } }, /^username of its user.*; password of its user/],
  ["somebody else's identity", { user: { as: "root" } }, /^as of its user acts as somebody else/],
  ["no credential", { user: { token: undefined } }, /^its user has no credential/],
  ["two credentials", { user: certificateUser }, /has both a token and a client certificate/],
  ["a token over two lines", { user: { token: "canary-token\nX-Header: 1" } }, /^token of its user holds blanks/],
  ["a certificate without its key", { user: { ...CERTIFICATE, "client-key-data": undefined } }, /^client-key-data of its user is missing/],
  ["a key that is another's", { user: { ...CERTIFICATE, "client-key-data": base64(otherKey) } }, /is not the key of/],
  [
    "a certificate that has ended",
    { user: { token: undefined, "client-certificate-data": base64(ended.certificate), "client-key-data": base64(ended.key) } },
    /ended on 2020-01-01T00:00:00.000Z; renew it$/,
  ],
];

describe("a kubeconfig", () => {
  it.each(refusals)("with %s is refused by the field's name, and nothing of it is quoted", (_what, parts, message) => {
    const reading = readKubeconfig(new Secret(testKubeconfig(parts)), NOW_MS);
    expect(reading.ok ? "taken" : reading.problems.join("; ")).toMatch(message);
    expect(JSON.stringify(reading)).not.toContain("canary-token");
  });

  it("that is no YAML is refused by its place, without a word of it", () => {
    const reading = readKubeconfig(new Secret("token: canary-token\n  x: [canary-token"), NOW_MS);
    expect(reading.ok).toBe(false);
    expect(JSON.stringify(reading)).toMatch(/line \d+, column \d+/);
    expect(JSON.stringify(reading)).not.toContain("canary-token");
    expect(readKubeconfig(new Secret("a: 1\n---\nb: 2"), NOW_MS).ok).toBe(false);
    expect(readKubeconfig(new Secret(`x: ${"y".repeat(300_000)}`), NOW_MS)).toMatchObject({
      ok: false,
      problems: ["it is larger than 256 KiB"],
    });
  });

  it.each([
    ["a token", {}, "token"],
    ["a client certificate", CERTIFICATE, "certificate"],
  ])("with %s is taken, and is the same once stored and read again", (_what, user, kind) => {
    const reading = readKubeconfig(new Secret(testKubeconfig({ user })), NOW_MS);
    if (!reading.ok) throw new Error(reading.problems.join("; "));
    expect(reading.kubeconfig).toMatchObject({ endpoint: "10.0.0.1:6443", credential: { kind } });
    expect(reading.kubeconfig.caCertHashes).toEqual([expect.stringMatching(/^sha256:[0-9a-f]{64}$/)]);
    const stored = writeKubeconfig(reading.kubeconfig);
    const again = readKubeconfig(stored, NOW_MS);
    if (!again.ok) throw new Error(again.problems.join("; "));
    expect(writeKubeconfig(again.kubeconfig).reveal()).toBe(stored.reveal());
    expect(again.kubeconfig.caCertHashes).toEqual(reading.kubeconfig.caCertHashes);
  });

  it("keeps nothing of other contexts", () => {
    const users = [
      { name: "u", user: { token: "t" } },
      { name: "other", user: { token: "canary-token", exec: {} } },
    ];
    const reading = readKubeconfig(new Secret(testKubeconfig({ top: { users } })), NOW_MS);
    if (!reading.ok) throw new Error(reading.problems.join("; "));
    expect(writeKubeconfig(reading.kubeconfig).reveal()).not.toContain("canary-token");
  });

  it("without a port is served at 443", () => {
    const reading = readKubeconfig(new Secret(testKubeconfig({ cluster: { server: "https://api.example" } })), NOW_MS);
    expect(reading.ok && reading.kubeconfig).toMatchObject({ server: "https://api.example:443", endpoint: "api.example:443" });
  });
});
