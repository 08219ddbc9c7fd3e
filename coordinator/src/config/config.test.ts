import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatProblem } from "@drover/api";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ConfigLoading, loadConfig, type Overrides } from "./config.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "drover-config-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function load(text: string, overrides?: Overrides): ConfigLoading {
  const path = join(directory, "coordinator.yaml");
  writeFileSync(path, text);
  return loadConfig(path, overrides);
}
const problemsOf = (loading: ConfigLoading): string[] =>
  loading.ok ? [] : loading.problems.map((problem) => formatProblem(problem).replace(`${directory}/`, ""));

describe("loadConfig", () => {
  it("has defaults for everything", () => {
    const loading = loadConfig(undefined);
    expect(loading).toMatchObject({
      ok: true,
      config: {
        dataDir: "/var/lib/drover-coordinator",
        listen: {
          session: { host: "0.0.0.0", port: 7443 },
          enrolment: { host: "0.0.0.0", port: 7444 },
          metrics: { host: "127.0.0.1", port: 7445 },
        },
        advertisedHosts: expect.arrayContaining(["localhost", "127.0.0.1"]),
        nats: { kind: "embedded", port: 4222, program: undefined },
        reportLog: { maxAgeMs: 7 * 86_400_000, maxBytes: 2 * 1024 ** 3 },
        heartbeats: { shortestIntervalMs: 10_000, perSecond: 1_000 },
        log: { level: "info" },
      },
    });
    expect(load("")).toEqual(loading);
    expect(load("# nothing\n")).toEqual(loading);
  });

  it("reads all that may stand there", () => {
    const text = `
dataDir: /srv/drover
listen: {session: "[::]:0", metrics: 127.0.0.1:9000}
advertise: {hosts: [drover.example, 10.0.0.1]}
nats:
  outside:
    urls: [tls://nats.example:4222]
    accountId: A${"B".repeat(55)}
    accountSigningKeyFile: /etc/drover/account.nk
    systemUserCredsFile: /etc/drover/sys.creds
    caFile: /etc/drover/ca.pem
reportLog: {maxAge: 36h, maxBytes: 512Mi}
heartbeats: {shortestInterval: 30s, perSecond: 10000}
log: {level: debug}
limits: {connectionAge: 30m, auditRecords: 500, connections: 200, handshakeTimeout: 3s}
`;
    expect(load(text)).toMatchObject({
      ok: true,
      config: {
        listen: { session: { host: "::", port: 0 }, enrolment: { port: 7444 } },
        advertisedHosts: ["drover.example", "10.0.0.1"],
        nats: { kind: "outside", urls: ["tls://nats.example:4222"], caFile: "/etc/drover/ca.pem" },
        reportLog: { maxAgeMs: 129_600_000, maxBytes: 512 * 1024 ** 2 },
        heartbeats: { shortestIntervalMs: 30_000, perSecond: 10_000 },
        limits: { connections: 200, handshakeMs: 3_000, connectionAgeMs: 1_800_000, auditRecords: 500, streamsPerConnection: 64 },
      },
    });
  });

  it("is frozen to its depth", () => {
    const loading = load("dataDir: /srv/drover");
    if (!loading.ok) throw new Error("it is right");
    expect(() => Object.assign(loading.config.listen.session, { port: 1 })).toThrow(TypeError);
    expect(() => (loading.config.advertisedHosts as string[]).push("x")).toThrow(TypeError);
  });

  it("takes a flag before the environment before the file, and blames the one that is wrong", () => {
    const env = { DROVER_DATA_DIR: "/env", DROVER_LOG_LEVEL: "warn", DROVER_ADVERTISE_HOSTS: "a.example, 10.0.0.1" };
    const loading = load("dataDir: /file\nlisten: {session: 127.0.0.1:1}", {
      env,
      flags: { "data-dir": "/flag", "listen-enrolment": "127.0.0.1:2" },
    });
    expect(loading).toMatchObject({
      ok: true,
      config: {
        dataDir: "/flag",
        log: { level: "warn" },
        listen: { session: { port: 1 }, enrolment: { port: 2 } },
        advertisedHosts: ["a.example", "10.0.0.1"],
      },
    });
    expect(problemsOf(load("dataDir: /file", { env: { DROVER_LOG_LEVEL: "loud" }, flags: { "data-dir": "here" } }))).toEqual([
      "--data-dir: dataDir: must be an absolute path",
      "DROVER_LOG_LEVEL: log.level: must be debug, info, warn or error",
    ]);
  });

  it("tells all problems at once, in the order of the file", () => {
    expect(problemsOf(load("dataDir: here\nlisten:\n  session: nowhere\n  sesion: x\nlog: {level: loud}\n"))).toEqual([
      "coordinator.yaml:1:10: dataDir: must be an absolute path",
      "coordinator.yaml:3:12: listen.session: must be an address and a port, such as 0.0.0.0:7443 or [::]:7443",
      "coordinator.yaml:4:3: listen.sesion: is not known here; did you mean session?",
      "coordinator.yaml:5:14: log.level: must be debug, info, warn or error",
    ]);
  });

  it("says which file it cannot read", () => {
    const [problem] = problemsOf(loadConfig(join(directory, "absent.yaml")));
    expect(problem).toMatch(/^absent\.yaml: cannot be read: ENOENT.*; name the file with --config/);
  });

  const outside = `urls: [tls://a:1], accountId: A${"B".repeat(55)}, accountSigningKeyFile: /a, systemUserCredsFile: /b`;
  it.each([
    ["- a", "1:1: must be a mapping of settings"],
    ["just text", "1:1: must be a mapping of settings"],
    ["a: [", ":"],
    ["dataDir: /a\ndataDir: /b", "2:1: repeats the key"],
    ["dataDir: /a\n---\ndataDir: /b", "3:1: is a second document; one is expected"],
    ["datadir: /a", "1:1: datadir: is not known here; did you mean dataDir?"],
    ["dataDir: 7", "1:10: dataDir: must be text"],
    ["dataDir:\n  - /a", "2:3: dataDir: must be text"],
    ["listen: 7443", "1:9: listen: must be a mapping"],
    ["listen: {session: 0.0.0.0:99999}", "1:19: listen.session: must be an address and a port"],
    ["listen: {session: example.org:7443}", "1:19: listen.session: must be an address and a port"],
    ["listen: {session: 0.0.0.0:7444}", "listen.enrolment: must not have the port of listen.session, 7444; give each its own port"],
    ["advertise: {hosts: []}", "1:20: advertise.hosts: must name at least one host"],
    ["advertise: {hosts: [ok.example, not ok]}", "1:33: advertise.hosts[1]: must be a DNS name or an IP address"],
    ["advertise: {hosts: [10.0.0.256]}", "1:21: advertise.hosts[0]: must be a DNS name or an IP address"],
    ["nats: {embedded: {port: 70000}}", "1:25: nats.embedded.port: must be a port, 0 to 65535"],
    ["nats: {embedded: {program: nats-server}}", "1:28: nats.embedded.program: must be an absolute path"],
    [`nats: {outside: {${outside}}}`, "nats.outside.caFile: is required"],
    [`nats: {embedded: {}, outside: {${outside}, caFile: /c}}`, "1:7: nats: must hold either embedded or outside, not both"],
    [`nats: {outside: {${outside.replace("tls:", "nats:")}, caFile: /c}}`, "nats.outside.urls[0]: must be a NATS URL with TLS and a port"],
    ["reportLog: {maxAge: forever}", "1:21: reportLog.maxAge: must be a duration such as 30s, 5m or 7d"],
    ["reportLog: {maxAge: 1s}", "1:21: reportLog.maxAge: must be at least 1m"],
    ["reportLog: {maxBytes: lots}", "1:23: reportLog.maxBytes: must be bytes: a number, or one with Ki"],
    ["reportLog: {maxBytes: 1Ki}", "1:23: reportLog.maxBytes: must be at least 1Mi"],
    ["heartbeats: {shortestInterval: 10ms}", "1:32: heartbeats.shortestInterval: must be at least 1s"],
    ["limits: {streamsPerConnection: 0}", "1:32: limits.streamsPerConnection: must be a whole number from 1 to 10000"],
    // What nothing enforces cannot be asked for.
    ["limits: {packets: 100}", "1:10: limits.packets: "],
    ["limits: {connections: 1}", "1:23: limits.connections: must be a whole number from 10 to 1000000"],
    ["limits: {handshakeTimeout: 1ms}", "1:28: limits.handshakeTimeout: must be at least 100ms"],
    ["limits: {auditRecords: 1.5e3x}", "limits.auditRecords: must be a whole number from 100 to 1000000"],
    ["a: &a [*a]", "holds itself through an alias"],
  ])("refuses %s", (text, expected) => {
    const problems = problemsOf(load(text));
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.join("\n")).toContain(expected);
    expect(problems[0]).toMatch(/^coordinator\.yaml:\d+:\d+: /);
  });
});
