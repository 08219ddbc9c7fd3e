import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lastWords, pruneLogs } from "./nats-log.ts";

describe("the embedded server's log", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "drover-nats-log-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("keeps three rotated files, the newest, and nothing else is touched", () => {
    const rotated = ["01", "02", "03", "04", "05"].map((second) => `nats.log.2026.11.22.15.18.${second}.109751515`);
    for (const name of ["nats.log", "nats.log.keep", "nats.conf", ...rotated]) writeFileSync(join(dir, name), "x");
    pruneLogs(dir);
    expect(readdirSync(dir)).toEqual(["nats.conf", "nats.log", ...rotated.slice(2), "nats.log.keep"]);
    pruneLogs(join(dir, "absent"));
  });

  it("gives the end of both files for people", () => {
    expect(lastWords(dir)).toBe("");
    writeFileSync(join(dir, "nats.out"), "nats-server: unknown field\n");
    writeFileSync(join(dir, "nats.log"), "1\n2\n3\n4\n5\n6\n");
    expect(lastWords(dir)).toBe("nats-server: unknown field\n2\n3\n4\n5\n6");
  });
});
