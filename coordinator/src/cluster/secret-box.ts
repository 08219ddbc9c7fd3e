/** Secrets at rest: sealed with a key that lies in a file apart from the store, and bound to the name that they are stored under. */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { Secret } from "@drover/lifecycle";
import type { SealedSecret } from "../records.ts";

export const SECRET_KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_LENGTH = 16;

/** Sealed with another key than this one. */
export class SecretKeyMismatch extends Error {
  override readonly name = "SecretKeyMismatch";
}

/** Changed since it was sealed, or moved here from another name. */
export class SecretDamaged extends Error {
  override readonly name = "SecretDamaged";
}

export class SecretBox {
  /** Tells keys apart and says nothing of the key. */
  readonly keyId: string;
  readonly #key: Secret<Buffer>;
  readonly #keyFile: string;

  /** @param keyFile for messages */
  constructor(key: Secret<Buffer>, keyFile: string) {
    if (key.reveal().length !== SECRET_KEY_BYTES) throw new RangeError(`a secret key has ${SECRET_KEY_BYTES} bytes`);
    this.#key = key;
    this.#keyFile = keyFile;
    this.keyId = createHmac("sha256", key.reveal()).update("drover secret key id").digest("hex").slice(0, KEY_ID_LENGTH);
  }

  /** @param storeKey where it will be stored: it opens there only */
  seal(storeKey: string, plain: Secret): SealedSecret {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key.reveal(), nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(storeKey));
    const ciphertext = Buffer.concat([cipher.update(plain.reveal(), "utf8"), cipher.final()]);
    return {
      keyId: this.keyId,
      nonce: nonce.toString("base64"),
      tag: cipher.getAuthTag().toString("base64"),
      ciphertext: ciphertext.toString("base64"),
    };
  }

  /** @throws SecretKeyMismatch, SecretDamaged with what to do */
  open(storeKey: string, sealed: SealedSecret): Secret {
    if (sealed.keyId !== this.keyId) {
      throw new SecretKeyMismatch(
        `${storeKey} was encrypted with key ${sealed.keyId}, and ${this.#keyFile} holds key ${this.keyId}: put that file back from its backup ` +
          "and start again, or adopt the cluster again with its kubeconfig: drover cluster adopt",
      );
    }
    try {
      const nonce = Buffer.from(sealed.nonce, "base64");
      const tag = Buffer.from(sealed.tag, "base64");
      const decipher = createDecipheriv("aes-256-gcm", this.#key.reveal(), nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(storeKey));
      decipher.setAuthTag(tag);
      const plain = Buffer.concat([decipher.update(Buffer.from(sealed.ciphertext, "base64")), decipher.final()]);
      return new Secret(plain.toString("utf8"));
    } catch {
      throw new SecretDamaged(
        `${storeKey} is not as it was when it was encrypted: restore the store from a backup, or adopt the cluster again with its kubeconfig: drover cluster adopt`,
      );
    }
  }
}
