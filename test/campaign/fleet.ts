/** What the coordinator says of all machines, as it says it: one watch of the operator's CLI for all who wait. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { bedEnvironment } from "../testbed/environment.ts";
import type { Site } from "../testbed/site.ts";

export interface SeenNode {
  readonly nodeId: string;
  readonly desiredGeneration: number;
  readonly observedGeneration: number;
  readonly isInSync: boolean;
  /** Of condition InSync: how its last plan ended; empty: none has. */
  readonly planReason: string;
}

interface NodeObject {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly status?: {
    readonly phase: string;
    readonly desiredGeneration: number;
    readonly observedGeneration: number;
    readonly desiredRevision: string;
    readonly enforcedRevision: string;
    readonly conditions: readonly { readonly type: string; readonly reason: string }[];
  };
}

export class Fleet {
  readonly #command: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #nodes = new Map<string, SeenNode>();
  #failure: Error | undefined;

  /**
   * To be made before the first machine is; the watch ends with the bed.
   * @param compileCache where what Node compiled of the CLI is kept, for those who call it hundreds of times
   */
  constructor(site: Site, compileCache?: string) {
    this.#command = site.cliCommand;
    this.#env = compileCache === undefined ? bedEnvironment : { ...bedEnvironment, NODE_COMPILE_CACHE: compileCache };
    this.#watch();
  }

  /** undefined: not enrolled yet. */
  node(name: string): SeenNode | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    return this.#nodes.get(name);
  }

  async apply(manifest: string): Promise<void> {
    const [program, ...words] = [...this.#command, "apply", "-f", manifest];
    await execa(program, words, { env: this.#env, extendEnv: false, stdin: "ignore", timeout: 120_000 });
  }

  #watch(): void {
    const [program, ...words] = [...this.#command, "get", "nodes", "-o", "json", "--watch"];
    const watching = spawn(program, words, { env: this.#env, stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    createInterface({ input: watching.stdout }).on("line", (line) => {
      text += line;
      if (line !== "}") return;
      this.#take(JSON.parse(text) as NodeObject);
      text = "";
    });
    watching.once("exit", (code) => {
      this.#failure = new Error(`the watch of nodes ended with ${code}`);
    });
  }

  #take({ metadata, status }: NodeObject): void {
    if (status === undefined) return;
    const { phase, desiredGeneration, observedGeneration, desiredRevision, enforcedRevision, conditions } = status;
    const planReason = conditions.find(({ type }) => type === "InSync")?.reason ?? "";
    const isInSync = phase === "InSync" && observedGeneration === desiredGeneration && enforcedRevision === desiredRevision;
    this.#nodes.set(metadata.name, { nodeId: metadata.uid, desiredGeneration, observedGeneration, isInSync, planReason });
  }
}
