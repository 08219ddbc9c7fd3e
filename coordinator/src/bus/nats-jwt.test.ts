import { randomBytes } from "node:crypto";
import { nodePermissions } from "@drover/proto";
import { fromPublic, fromSeed } from "@nats-io/nkeys";
import { describe, expect, it } from "vitest";
import { accountJwt, nodeClaims, userJwt } from "./nats-jwt.ts";
import { isPublicNkey, Nkey } from "./nkey.ts";

const claimsOf = (jwt: string): Record<string, unknown> => JSON.parse(Buffer.from(jwt.split(".")[1]!, "base64url").toString()) as never;

describe("NATS keys", () => {
  it.each(["operator", "account", "user"] as const)("of an %s are spelled and sign as the reference library has it", (role) => {
    for (let count = 0; count < 20; count++) {
      const key = Nkey.create(role);
      const reference = fromSeed(Buffer.from(key.seed()));
      expect(reference.getPublicKey()).toBe(key.publicKey);
      const text = randomBytes(100);
      expect(fromPublic(key.publicKey).verify(text, key.sign(text))).toBe(true);
      expect(Nkey.fromSeed(role, key.seed()).publicKey).toBe(key.publicKey);
    }
  });

  it("are refused when a letter is wrong, or the role is another", () => {
    const key = Nkey.create("user");
    expect(isPublicNkey("user", key.publicKey)).toBe(true);
    expect(isPublicNkey("account", key.publicKey)).toBe(false);
    const wrong = key.publicKey.replace(/.$/, key.publicKey.endsWith("A") ? "B" : "A");
    for (const text of [wrong, "", "U", key.seed(), key.publicKey.toLowerCase(), `${key.publicKey}A`, "U".repeat(10_000)]) {
      expect(isPublicNkey("user", text)).toBe(false);
    }
    expect(() => Nkey.fromSeed("account", key.seed())).toThrow("not the seed");
  });
});

describe("NATS JWTs", () => {
  it("give a node the protocol's lines and nothing else, until its certificate ends", () => {
    const [account, user] = [Nkey.create("account"), Nkey.create("user")];
    const { publish, subscribe } = nodePermissions("aaaaaaaaaa");
    const claims = claimsOf(
      userJwt(account, account.publicKey, nodeClaims("aaaaaaaaaa", user.publicKey, 1_900_000_000_500), 1_800_000_000_000),
    );
    expect(claims).toMatchObject({ iss: account.publicKey, sub: user.publicKey, iat: 1_800_000_000, exp: 1_900_000_000 });
    expect(claims["nats"]).toEqual({
      type: "user",
      version: 2,
      pub: { allow: publish },
      sub: { allow: subscribe },
      subs: 4,
      data: -1,
      payload: 65_536,
      allowed_connection_types: ["STANDARD"],
    });
  });

  it("of an outside cluster name the account that the signing key belongs to", () => {
    const [account, signing, user] = [Nkey.create("account"), Nkey.create("account"), Nkey.create("user")];
    const claims = claimsOf(userJwt(signing, account.publicKey, nodeClaims("aaaaaaaaaa", user.publicKey, 0), 0));
    expect(claims["nats"]).toMatchObject({ issuer_account: account.publicKey });
  });

  it("state every limit of an account", () => {
    const operator = Nkey.create("operator");
    const storage = { maxMemoryBytes: 10, maxDiskBytes: 20 };
    const account = { publicKey: Nkey.create("account").publicKey, name: "drover", storage, revocations: { U: 5 } };
    expect(claimsOf(accountJwt(operator, account, 0))["nats"]).toMatchObject({
      limits: { conn: -1, subs: -1, leaf: 0, mem_storage: 10, disk_storage: 20, streams: 8 },
      revocations: { U: 5 },
    });
  });
});
