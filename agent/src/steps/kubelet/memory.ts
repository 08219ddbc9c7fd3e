/** What the kubelet step remembers: the files that are ours, and a change of the running kubelet under way. */

export interface KubeletMemory {
  /** Paths of files that are ours as a whole. What config.yaml had before lies beside it. */
  readonly files: readonly string[];
  readonly attempt?: Attempt;
}

export interface FileSwap {
  readonly path: string;
  /** null: no file. */
  readonly before: string | null;
  readonly after: string | null;
}

/** Durable before the first file changes, gone when the kubelet has stayed up or all is back. */
export interface Attempt {
  readonly phase: "swapping" | "reverting";
  readonly files: readonly FileSwap[];
  /** What is remembered when it is taken back. */
  readonly previousFiles: readonly string[];
  /** It did not run when this began: it is restarted only when it was started meanwhile, as with the old files. */
  readonly isIdle?: boolean;
  /** Why it is being reverted. */
  readonly failure?: string;
}

/** @param remembered what the step's memory holds: written by rememberedOf, or undefined */
export function readMemory(remembered: unknown): KubeletMemory {
  return typeof remembered === "object" && remembered !== null && "files" in remembered ? (remembered as KubeletMemory) : { files: [] };
}

/** @returns undefined when there is nothing to remember */
export function rememberedOf(memory: KubeletMemory): KubeletMemory | undefined {
  return memory.files.length === 0 && memory.attempt === undefined ? undefined : memory;
}
