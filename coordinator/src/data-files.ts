/** Where everything lies under the data directory; spelled here and nowhere else. */
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeDurably } from "./bus/durable-file.ts";

export interface DataFiles {
  readonly root: string;
  readonly store: string;
  readonly reportLog: string;
  readonly snapshot: string;
  readonly authority: string;
  readonly evidence: string;
  readonly natsTrust: string;
  readonly nats: string;
  readonly ports: string;
  /** Where the key of stored secrets is unless the configuration names another file. */
  readonly secretKey: string;
}

export function dataFiles(root: string): DataFiles {
  return {
    root,
    store: join(root, "store.db"),
    reportLog: join(root, "reports.db"),
    snapshot: join(root, "fleet.snapshot"),
    authority: join(root, "ca"),
    evidence: join(root, "evidence"),
    natsTrust: join(root, "nats-trust"),
    nats: join(root, "nats"),
    ports: join(root, "ports.json"),
    secretKey: join(root, "secrets.key"),
  };
}

/** Makes the data directory, for its owner alone. */
export async function makeDataDirectory({ root }: DataFiles): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  await chmod(root, 0o700);
}

/** The ports that were bound last: port 0 in the configuration is any free one. */
export interface BoundPorts {
  readonly session: number;
  readonly enrolment: number;
  readonly metrics: number;
}

export function writePorts({ ports }: DataFiles, bound: BoundPorts): void {
  writeDurably(ports, `${JSON.stringify(bound)}\n`);
}

/** undefined: no coordinator has served from this directory yet. */
export async function readPorts({ ports }: DataFiles): Promise<BoundPorts | undefined> {
  try {
    return JSON.parse(await readFile(ports, "utf8")) as BoundPorts;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
