import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Secret } from "@drover/lifecycle";
import type { SealedSecret } from "../records.ts";
import { SecretBox, SecretDamaged, SecretKeyMismatch } from "./secret-box.ts";
import { openSecretBox, readSecretBox, SecretKeyUnusable } from "./secret-key-file.ts";

const box = new SecretBox(new Secret(randomBytes(32)), "/etc/secrets.key");
const NAME = "secrets/kubeconfig/prod";
const CANARY = "canary-ünïcode";
const sealed = box.seal(NAME, new Secret(CANARY));

function flipped(text: string): string {
  const bytes = Buffer.from(text, "base64");
  bytes[bytes.length - 1]! ^= 1;
  return bytes.toString("base64");
}

describe("a sealed secret", () => {
  it("opens under its own name only, and holds nothing in clear", () => {
    expect(box.open(NAME, sealed).reveal()).toBe(CANARY);
    expect(JSON.stringify(sealed)).not.toContain("canary");
    expect(() => box.open("secrets/kubeconfig/other", sealed)).toThrow(SecretDamaged);
  });

  it("is never sealed alike twice", () => {
    const again = box.seal(NAME, new Secret(CANARY));
    expect([again.nonce === sealed.nonce, again.ciphertext === sealed.ciphertext]).toEqual([false, false]);
  });

  it.each<[string, Partial<SealedSecret>]>([
    ["its text changed", { ciphertext: flipped(sealed.ciphertext) }],
    ["its text cut", { ciphertext: sealed.ciphertext.slice(0, 8) }],
    ["its tag changed", { tag: flipped(sealed.tag) }],
    ["its tag cut to what GCM would still take", { tag: Buffer.from(sealed.tag, "base64").subarray(0, 4).toString("base64") }],
    ["no tag", { tag: "" }],
    ["its nonce changed", { nonce: flipped(sealed.nonce) }],
    ["no nonce", { nonce: "" }],
  ])("does not open with %s", (_what, change) => {
    expect(() => box.open(NAME, { ...sealed, ...change })).toThrow(SecretDamaged);
  });

  it("says that the key file is another one, and what to do", () => {
    const other = new SecretBox(new Secret(randomBytes(32)), "/etc/other.key");
    expect(() => other.open(NAME, sealed)).toThrow(SecretKeyMismatch);
    expect(() => other.open(NAME, sealed)).toThrow(/\/etc\/other\.key holds key [0-9a-f]{16}: put that file back from its backup/);
    // Even when the id is forged, the tag is not.
    expect(() => other.open(NAME, { ...sealed, keyId: other.keyId })).toThrow(SecretDamaged);
  });
});

describe("the key file", () => {
  let home = "";
  let keyFile = "";
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "drover-key-"));
    keyFile = join(home, "secrets.key");
  });
  afterEach(() => rmSync(home, { recursive: true }));

  it("is made once, for its owner alone", () => {
    const first = openSecretBox(keyFile);
    const second = openSecretBox(keyFile);
    expect([first.isNew, second.isNew, first.box.keyId === second.box.keyId]).toEqual([true, false, true]);
    expect([statSync(keyFile).mode & 0o777, statSync(keyFile).size]).toEqual([0o600, 32]);
    expect(second.box.open(NAME, first.box.seal(NAME, new Secret(CANARY))).reveal()).toBe(CANARY);
  });

  it("is refused when others can read it, when it is cut off, and when it is no file", () => {
    expect(readSecretBox(keyFile)).toBeUndefined();
    openSecretBox(keyFile);
    chmodSync(keyFile, 0o640);
    expect(() => openSecretBox(keyFile)).toThrow(/open to others \(mode 640\).*chmod 0600/);
    chmodSync(keyFile, 0o600);
    writeFileSync(keyFile, readFileSync(keyFile).subarray(0, 31));
    expect(() => openSecretBox(keyFile)).toThrow(SecretKeyUnusable);
    expect(statSync(keyFile).size).toBe(31);
    expect(() => openSecretBox(home)).toThrow(/is no file/);
    expect(() => openSecretBox(join(home, "missing", "key"))).toThrow(/cannot be made \(ENOENT\)/);
  });
});
