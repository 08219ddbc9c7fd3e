/** Where versions of programs lie side by side: one directory per source, named by its digest. Pure. */
import type { Binary, BinaryFile } from "@drover/proto";

export const STORE = "/var/lib/drover/binaries";
const INCOMING = "incoming";

/** Where a source arrives, and an archive stays until its members are out. */
export function incomingPath(binary: Binary): string {
  return `${STORE}/${INCOMING}/${hexOf(binary.digest)}`;
}

/** A file that is there is whole: it comes by a rename. */
export function storedPath(binary: Binary, { member }: BinaryFile): string {
  const name =
    member === ""
      ? "file"
      : member
          .split("/")
          .filter((part) => part !== "" && part !== ".")
          .join("/");
  return `${STORE}/${hexOf(binary.digest)}/${name}`;
}

/** Name of the version a link leads to; undefined: it leads elsewhere. */
export function versionOf(link: string | undefined): string | undefined {
  if (link?.startsWith(`${STORE}/`) !== true) return undefined;
  return link.slice(STORE.length + 1).split("/")[0];
}

export function isVersion(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}

function hexOf(digest: string): string {
  return digest.slice("sha256:".length);
}
