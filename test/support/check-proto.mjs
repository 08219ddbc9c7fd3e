// The wire protocol: linted, compatible with what was released, and its generated code current.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const proto = fileURLToPath(new URL("../../proto", import.meta.url));
const buf = (...args) => execFileSync("../node_modules/.bin/buf", args, { cwd: proto, stdio: "inherit" });
buf("lint");
buf("breaking", "--against", "released.binpb");
const fresh = mkdtempSync(join(tmpdir(), "drover-gen-"));
try {
  buf("generate", "--output", fresh);
  const files = (top) => readdirSync(top, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const read = (top) =>
    new Map(
      files(top).map((entry) => [
        join(entry.parentPath, entry.name).slice(top.length),
        readFileSync(join(entry.parentPath, entry.name), "utf8"),
      ]),
    );
  const made = read(join(fresh, "gen"));
  const kept = read(join(proto, "gen"));
  const stale = [...new Set([...made.keys(), ...kept.keys()])].filter((name) => made.get(name) !== kept.get(name));
  if (stale.length > 0) {
    console.error(`proto/gen is not what the .proto files give: ${stale.join(", ")}; run: npm run generate`);
    process.exitCode = 1;
  } else {
    console.log(`proto: ${made.size} generated files are current`);
  }
} finally {
  rmSync(fresh, { recursive: true });
}
