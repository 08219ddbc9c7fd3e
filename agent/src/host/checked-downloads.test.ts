import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, VirtualClock } from "@drover/lifecycle";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CheckedDownloads } from "./checked-downloads.ts";
import { RootedFiles } from "./rooted-files.ts";

const CONTENT = randomBytes(3_000_000);
const DIGEST = digestOf(CONTENT);
const PATH = "/var/lib/drover/incoming";
const never = new AbortController().signal;

let root: string;
let downloads: CheckedDownloads;
let server: Server;
let base: string;
let serve: RequestListener;
const asked: { url: string | undefined; range: string | undefined }[] = [];

beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "drover-downloads-")));
  downloads = new CheckedDownloads(new RootedFiles(root), systemClock);
  asked.length = 0;
  serve = withRanges(CONTENT);
  server = createServer((request, response) => {
    asked.push({ url: request.url, range: request.headers.range });
    serve(request, response);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => void server.close(resolve));
  await rm(root, { recursive: true });
});

function digestOf(content: Buffer): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

function withRanges(content: Buffer): RequestListener {
  return (request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (from >= content.length) return void response.writeHead(416).end();
    const headers = from > 0 ? { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { ...headers, "content-length": content.length - from }).end(content.subarray(from));
  };
}

async function fetch(parts: { source?: string; sizeBytes?: number; digest?: string } = {}, doneBytes: number[] = []): Promise<void> {
  const download = { source: `${base}/tool`, digest: DIGEST, sizeBytes: 0, mode: 0o755, ...parts };
  await downloads.fetch(download, PATH, (progress) => void doneBytes.push(progress.doneBytes), never);
}

const fetched = () => readFile(join(root, PATH));
const exists = async () => (await readdir(join(root, "var/lib/drover")).catch(() => [])).length > 0;

describe("a download", () => {
  it("is whole, has its mode, tells its bytes, and is not fetched twice", async () => {
    const doneBytes: number[] = [];
    await fetch({ sizeBytes: CONTENT.length }, doneBytes);
    expect(digestOf(await fetched())).toBe(DIGEST);
    expect((await stat(join(root, PATH))).mode & 0o7777).toBe(0o755);
    expect(doneBytes.at(-1)).toBe(CONTENT.length);
    await fetch();
    expect(asked).toHaveLength(1);
  });

  it("goes on where the connection was cut", async () => {
    serve = (_request, response) => {
      response.writeHead(200, { "content-length": CONTENT.length });
      response.write(CONTENT.subarray(0, 1_000_000), () => response.destroy());
    };
    await expect(fetch()).rejects.toMatchObject({ reason: "SourceUnreachable" });
    const have = (await fetched()).length;
    expect(have).toBeGreaterThan(0);
    serve = withRanges(CONTENT);
    await fetch();
    expect(asked.at(-1)?.range).toBe(`bytes=${have}-`);
    expect(digestOf(await fetched())).toBe(DIGEST);
  });

  it.each([
    ["is torn", Buffer.concat([CONTENT.subarray(0, 1000), Buffer.alloc(1000)])],
    ["is longer", Buffer.concat([CONTENT, Buffer.alloc(10)])],
  ])("begins anew when what an earlier life left %s", async (_what, left) => {
    await mkdir(join(root, "var/lib/drover"), { recursive: true });
    await writeFile(join(root, PATH), left);
    await fetch();
    expect(digestOf(await fetched())).toBe(DIGEST);
  });

  it("begins anew at a server that knows no ranges", async () => {
    await mkdir(join(root, "var/lib/drover"), { recursive: true });
    await writeFile(join(root, PATH), CONTENT.subarray(0, 5000));
    serve = (_request, response) => void response.end(CONTENT);
    await fetch();
    expect(digestOf(await fetched())).toBe(DIGEST);
  });

  it("that is something else is removed and not asked for again", async () => {
    serve = withRanges(Buffer.concat([CONTENT.subarray(1), Buffer.from("x")]));
    await expect(fetch()).rejects.toMatchObject({ reason: "DigestMismatch" });
    expect([await exists(), asked.length]).toEqual([false, 1]);
  });

  it("of another size is not taken in, whether the server says so before or not", async () => {
    await expect(fetch({ sizeBytes: 1000 })).rejects.toMatchObject({ reason: "DigestMismatch" });
    serve = (_request, response) => {
      response.write(CONTENT.subarray(0, 2000));
      response.end(CONTENT);
    };
    const doneBytes: number[] = [];
    await expect(fetch({ sizeBytes: 1000 }, doneBytes)).rejects.toMatchObject({ reason: "DigestMismatch" });
    expect([doneBytes, await exists()]).toEqual([[], false]);
  });

  it("follows redirects, but not for ever, and shows no query of a URL", async () => {
    const toTool = withRanges(CONTENT);
    serve = (request, response) => {
      if (request.url?.startsWith("/tool")) response.writeHead(302, { location: "../elsewhere?signature=hidden" }).end();
      else toTool(request, response);
    };
    await fetch();
    expect(digestOf(await fetched())).toBe(DIGEST);
    await rm(join(root, PATH));
    serve = (_request, response) => void response.writeHead(302, { location: "/again?signature=hidden" }).end();
    const error: unknown = await fetch().catch((failure: unknown) => failure);
    expect(error).toMatchObject({ reason: "SourceRefused", message: expect.stringContaining("more than 5 times") as string });
    serve = (_request, response) => void response.writeHead(302, { location: "file:///etc/shadow" }).end();
    await expect(fetch()).rejects.toMatchObject({ reason: "SourceRefused" });
    serve = (_request, response) => void response.writeHead(503).end();
    const passing: unknown = await fetch({ source: `${base}/tool?signature=hidden` }).catch((failure: unknown) => failure);
    expect(passing).toMatchObject({ reason: "SourceUnreachable", message: expect.not.stringContaining("hidden") as string });
    serve = (_request, response) => void response.writeHead(404).end();
    await expect(fetch()).rejects.toMatchObject({ reason: "SourceRefused" });
  });

  it.each(["answers nothing", "stops in the middle"])("ends when the server %s", async (how) => {
    const clock = new VirtualClock();
    downloads = new CheckedDownloads(new RootedFiles(root), clock);
    serve = (_request, response) => {
      if (how === "stops in the middle") response.writeHead(200, { "content-length": 5000 }).write(CONTENT.subarray(0, 1000));
    };
    const doneBytes: number[] = [];
    let ended: unknown;
    const failing = fetch({}, doneBytes).catch((error: unknown) => (ended = error));
    await vi.waitFor(() => expect([asked.length, doneBytes.length]).toEqual([1, how === "answers nothing" ? 0 : 1]), 20_000);
    await vi.waitFor(async () => {
      await clock.advance(31_000);
      expect(ended).toBeDefined();
    }, 20_000);
    await failing;
    expect(ended).toMatchObject({ reason: "SourceUnreachable", message: expect.stringContaining("30000 ms") as string });
  });

  it("ends at once when it is told to stop, and keeps what it has", async () => {
    const stop = new AbortController();
    serve = (_request, response) => void response.writeHead(200, { "content-length": CONTENT.length }).write(CONTENT.subarray(0, 1000));
    const download = { source: `${base}/tool`, digest: DIGEST, sizeBytes: 0, mode: 0o755 };
    const reason = new Error("stop");
    await expect(downloads.fetch(download, PATH, () => stop.abort(reason), stop.signal)).rejects.toBe(reason);
    expect((await fetched()).length).toBe(1000);
  });

  it("comes from a path as well, inside the root only", async () => {
    await writeFile(join(root, "image"), CONTENT);
    await fetch({ source: "/image" });
    expect(digestOf(await fetched())).toBe(DIGEST);
    await rm(join(root, PATH));
    await expect(fetch({ source: "/absent" })).rejects.toMatchObject({ reason: "SourceUnreachable" });
    await symlink("/etc/passwd", join(root, "link"));
    await expect(fetch({ source: "/link" })).rejects.toMatchObject({ reason: "SourceUnreachable" });
  });
});

describe("an archive", () => {
  const member = (name: string, path = `/out/${name.split("/").at(-1)}`) => ({ member: name, path });
  const LONG = `${"deep/".repeat(30)}tool`;

  async function archive(args: readonly string[], name = "a.tar"): Promise<string> {
    const directory = join(root, "content");
    await mkdir(join(directory, "bin", "deep/".repeat(30)), { recursive: true });
    await writeFile(join(directory, "bin/kubelet"), CONTENT);
    await writeFile(join(directory, "bin/empty"), "");
    await writeFile(join(directory, "bin", LONG), "long");
    await rm(join(directory, "bin/link"), { force: true });
    await symlink("/etc/passwd", join(directory, "bin/link"));
    execFileSync("/usr/bin/tar", ["-C", directory, ...args, "-cf", join(root, name), "."]);
    return `/${name}`;
  }

  it.each([["--format=gnu"], ["--format=posix"], ["--format=gnu", "-z"]])("gives the files that are asked for (%s %s)", async (...args) => {
    const path = await archive(args);
    const extracted = await downloads.extract(path, [member("bin/kubelet"), member("./bin/empty"), member(`bin/${LONG}`)], never);
    expect(extracted.toSorted((a, b) => (a.member < b.member ? -1 : 1))).toEqual([
      { member: "./bin/empty", digest: digestOf(Buffer.alloc(0)) },
      { member: `bin/${LONG}`, digest: digestOf(Buffer.from("long")) },
      { member: "bin/kubelet", digest: DIGEST },
    ]);
    expect(digestOf(await readFile(join(root, "out/kubelet")))).toBe(DIGEST);
    expect((await stat(join(root, "out/kubelet"))).mode & 0o7777).toBe(0o755);
    expect((await readdir(join(root, "out"))).sort()).toEqual(["empty", "kubelet", "tool"]);
  });

  it("names what it has instead, gives no links, and says when it is none", async () => {
    const path = await archive([]);
    await expect(downloads.extract(path, [member("bin/none")], never)).rejects.toMatchObject({
      reason: "MemberMissing",
      message: expect.stringContaining("bin/kubelet") as string,
    });
    await expect(downloads.extract(path, [member("bin/link")], never)).rejects.toMatchObject({ reason: "ArchiveInvalid" });
    await writeFile(join(root, "none"), CONTENT);
    await expect(downloads.extract("/none", [member("a")], never)).rejects.toMatchObject({ reason: "ArchiveInvalid" });
    const zipped = await readFile(join(root, (await archive(["-z"], "z.tgz")).slice(1)));
    await writeFile(join(root, "cut.tgz"), zipped.subarray(0, zipped.length / 2));
    await expect(downloads.extract("/cut.tgz", [member("bin/none")], never)).rejects.toMatchObject({ reason: "ArchiveInvalid" });
  });
});
