import { createHash, generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openAuthority } from "./authority.ts";
import { CertificateAuthority, DAY_MS, serialOf } from "./certificate-authority.ts";

const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const clock = new VirtualClock();

describe("openAuthority", () => {
  let parent: string;
  let directory: string;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), "drover-ca-"));
    directory = join(parent, "ca");
  });
  afterEach(() => rm(parent, { recursive: true }));

  it("makes its CA at the first start, for its owner only, and keeps it", async () => {
    const first = await openAuthority(directory, clock);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, "ca-1.pem"))).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(["ca-1.pem"]);
    const ca = new X509Certificate(first.bundle[0]!);
    expect(ca.ca).toBe(true);
    expect(ca.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
    expect(Date.parse(ca.validTo) - clock.now()).toBe(3650 * DAY_MS);
    const digest = createHash("sha256")
      .update(ca.publicKey.export({ type: "spki", format: "der" }))
      .digest("hex");
    expect(first.pin).toBe(`sha256:${digest}`);
    await chmod(directory, 0o755);
    expect((await openAuthority(directory, clock)).pin).toBe(first.pin);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  it("is one authority, however many processes make it at once", async () => {
    const opened = await Promise.all(Array.from({ length: 8 }, () => openAuthority(directory, clock)));
    expect(new Set(opened.map(({ pin }) => pin)).size).toBe(1);
    expect(await readdir(directory)).toEqual(["ca-1.pem"]);
  });

  it("certifies a node by its id alone, for a week, backdated by two hours", async () => {
    const authority = await openAuthority(directory, clock);
    const leaf = await authority.issueNode("abcdefghij", publicKey);
    const certificate = new X509Certificate(leaf.chain[0]!);
    expect(certificate.subject).toBe("CN=abcdefghij");
    expect(certificate.subjectAltName).toBe("URI:drover://node/abcdefghij");
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(certificate.ca).toBe(false);
    expect(Date.parse(certificate.validFrom)).toBe(clock.now() - 2 * 3_600_000);
    expect(Date.parse(certificate.validTo)).toBe(clock.now() + 7 * DAY_MS);
    expect(leaf.notAfterMs).toBe(Date.parse(certificate.validTo));
    expect(leaf.serial).toBe(serialOf(certificate));
    expect(authority.hasIssued(certificate)).toBe(true);
    expect((await openAuthority(join(parent, "other"), clock)).hasIssued(certificate)).toBe(false);
  });

  it("certifies operators for a year and servers by DNS name and address for 30 days", async () => {
    const authority = await openAuthority(directory, clock);
    const operator = new X509Certificate((await authority.issueOperator("ann", publicKey)).chain[0]!);
    expect(operator.subjectAltName).toBe("URI:drover://operator/ann");
    expect(Date.parse(operator.validTo) - clock.now()).toBe(365 * DAY_MS);
    const server = new X509Certificate((await authority.issueServer(["drover.example", "10.0.0.1", "::1"], publicKey)).chain[0]!);
    expect(server.checkHost("drover.example")).toBe("drover.example");
    expect(server.checkIP("10.0.0.1")).toBe("10.0.0.1");
    expect(server.checkIP("::1")).toBe("::1");
    expect(server.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(Date.parse(server.validTo) - clock.now()).toBe(30 * DAY_MS);
  });

  it("rotates: a successor is trusted first and issues later, over restarts", async () => {
    const authority = await openAuthority(directory, clock);
    const oldPin = authority.pin;
    let changes = 0;
    authority.onChange(() => (changes += 1));
    const successorPin = await authority.addSuccessor();
    expect(authority.bundle).toHaveLength(2);
    expect([authority.pin, (await openAuthority(directory, clock)).pin]).toEqual([oldPin, oldPin]);
    const before = new X509Certificate((await authority.issueNode("abcdefghij", publicKey)).chain[0]!);
    await authority.promoteSuccessor();
    expect(changes).toBe(2);
    const reopened = await openAuthority(directory, clock);
    expect([authority.pin, reopened.pin]).toEqual([successorPin, successorPin]);
    const after = new X509Certificate((await reopened.issueNode("abcdefghij", publicKey)).chain[0]!);
    expect(after.issuer).not.toBe(before.issuer);
    expect([reopened.hasIssued(before), authority.hasIssued(after)]).toEqual([true, true]);
  });

  it("names the file that is no CA", async () => {
    await openAuthority(directory, clock);
    await writeFile(join(directory, "ca-1.pem"), "nonsense");
    await expect(openAuthority(directory, clock)).rejects.toThrow("ca-1.pem is no CA of ours");
    await expect(CertificateAuthority.load("")).rejects.toThrow();
  });
});
