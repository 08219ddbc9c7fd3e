/** What doctor found: one line of what and why, and what to do next when something is to be done. */
export interface Finding {
  readonly check: string;
  readonly outcome: "ok" | "warning" | "failed";
  /** What was found, and why it matters. */
  readonly message: string;
  /** What to do, a command where there is one. */
  readonly next?: string;
}

export type Found = Omit<Finding, "check">;

/** An error is a finding, too; its message says what to do. */
export async function guarded(check: string, look: () => Promise<Found>): Promise<Finding> {
  try {
    return { check, ...(await look()) };
  } catch (error) {
    return { check, outcome: "failed", message: (error as Error).message };
  }
}

export const ok = (message: string): Found => ({ outcome: "ok", message });
export const warning = (message: string, next: string): Found => ({ outcome: "warning", message, next });
export const failed = (message: string, next: string): Found => ({ outcome: "failed", message, next });

const MARKS = { ok: "ok     ", warning: "warning", failed: "FAILED " } as const;

/** For a terminal: a line each, what to do under it, and a last line that sums up. */
export function renderFindings(findings: readonly Finding[]): string[] {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, outcome, message, next }) => {
    const [first = "", ...more] = message.split("\n");
    const indent = " ".repeat(MARKS.ok.length + 2 + width + 2);
    return [
      `${MARKS[outcome]}  ${check.padEnd(width)}  ${first}`,
      ...more.map((line) => `${indent}${line}`),
      ...(next === undefined ? [] : [`${indent}next: ${next}`]),
    ];
  });
  const count = (wanted: Finding["outcome"]): number => findings.filter(({ outcome }) => outcome === wanted).length;
  return [...lines, "", `${findings.length} checks: ${count("failed")} failed, ${count("warning")} with a warning`];
}
