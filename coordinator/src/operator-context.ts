/** The file that `drover` reads: contexts with an endpoint and a client certificate. Merged, never overwritten; 0600. */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { writeDurably } from "./bus/durable-file.ts";

export interface OperatorContext {
  readonly name: string;
  /** "host:port". */
  readonly endpoint: string;
  readonly caPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** Loose: what a newer drover wrote beside is kept. */
const contextFile = z.looseObject({
  currentContext: z.string().optional(),
  contexts: z.array(z.looseObject({ name: z.string() })).default([]),
});

/** Puts the context into the file, in place of one with its name; makes it the current one when there is none. @throws when the file is something else */
export async function mergeContext(path: string, context: OperatorContext): Promise<void> {
  const parsed = contextFile.safeParse((await readYaml(path)) ?? {});
  if (!parsed.success) throw new Error(`${path} is no drover context file: ${z.prettifyError(parsed.error)}; name another one with --out`);
  const { contexts, currentContext, ...rest } = parsed.data;
  const merged = {
    ...rest,
    currentContext: currentContext ?? context.name,
    contexts: [...contexts.filter(({ name }) => name !== context.name), { ...context }],
  };
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  writeDurably(path, stringify(merged));
}

async function readYaml(path: string): Promise<unknown> {
  try {
    return parse(await readFile(path, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
