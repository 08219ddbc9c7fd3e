/** The join token's file: read when it is needed, removed when it is spent. */
import { open, unlink } from "node:fs/promises";
import { type Log, Secret } from "@drover/lifecycle";

const MAX_BYTES = 4096;

export type JoinTokenReading = { readonly kind: "present"; readonly token: Secret } | { readonly kind: "absent"; readonly message: string };

export async function readJoinToken(path: string): Promise<JoinTokenReading> {
  try {
    await using file = await open(path, "r");
    const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0);
    const text = buffer.subarray(0, bytesRead).toString("utf8").trim();
    if (!/^[\x21-\x7e]{1,1024}$/.test(text))
      return { kind: "absent", message: `${path} holds no join token; write there what \`drover token create\` prints` };
    return { kind: "present", token: new Secret(text) };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "error";
    return { kind: "absent", message: `${path} cannot be read (${code}); write there what \`drover token create\` prints` };
  }
}

/** It is spent: what stays behind is untidy, not dangerous, so a failure is told and no more. */
export async function removeJoinToken(path: string, log: Log): Promise<void> {
  try {
    await unlink(path);
    log.info({ path }, "removed the spent join token");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "ENOENT") log.warn({ path, code }, "the spent join token could not be removed");
  }
}
