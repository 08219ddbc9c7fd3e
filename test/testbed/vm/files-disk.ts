/** What makes a virtual machine this one (name, address, identity, programs of the test): a tar archive that it gets as a disk. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { bedEnvironment } from "../environment.ts";

export interface FilesAtFirstBoot {
  /** Absolute path in the machine to content (0644). */
  readonly files: Readonly<Record<string, string>>;
  /** Absolute path in the machine to path here; they keep their mode. */
  readonly copies: Readonly<Record<string, string>>;
}

export function ownFiles(name: string, address: string, gateway: string): Readonly<Record<string, string>> {
  return {
    "/etc/hostname": `${name}\n`,
    "/etc/hosts": `127.0.0.1 localhost\n${address} ${name}\n`,
    // With one of its own, systemd does not take the first boot for the first boot of an image.
    "/etc/machine-id": `${randomBytes(16).toString("hex")}\n`,
    "/etc/drover-bed/network": `ADDRESS=${address}\nGATEWAY=${gateway}\n`,
  };
}

/** @param staging a folder that is there while the archive is made */
export async function makeFilesDisk(archive: string, { files, copies }: FilesAtFirstBoot, staging: string): Promise<void> {
  const put = async (path: string): Promise<string> => {
    const staged = join(staging, path);
    await mkdir(dirname(staged), { recursive: true });
    return staged;
  };
  for (const [path, content] of Object.entries(files)) await writeFile(await put(path), content);
  const quietly = { env: bedEnvironment, extendEnv: false };
  for (const [path, from] of Object.entries(copies)) {
    await execa("cp", ["--dereference", "--preserve=mode", "--reflink=auto", from, await put(path)], quietly);
  }
  const members = [...Object.keys(files), ...Object.keys(copies)].map((path) => `.${path}`);
  await execa("tar", ["--create", "--file", archive, "--owner=0", "--group=0", "--directory", staging, ...members], quietly);
  await rm(staging, { recursive: true });
}
