/**
 * The NATS that the coordinator brings along: a process of its own that outlives a killed coordinator and is adopted by the next one.
 * Owns its life, its configuration and its users; what travels through it belongs to nats-bus.ts.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type Clock, exponentialBackoff, type Log, type Random, sleep } from "@drover/lifecycle";
import { z } from "zod";
import type { NatsCredentialIssuer } from "../identity/nats-credential-issuer.ts";
import { makePrivateDirectory, readIfThere, writeDurably } from "./durable-file.ts";
import { lastWords, LOG_FILE_BYTES, logPath, openOutput, pruneLogs } from "./nats-log.ts";
import { type NatsCertificate, openNatsCertificate } from "./nats-certificate.ts";
import { pushAccountClaims } from "./nats-claims.ts";
import { type NatsServerConfig, renderNatsConfig } from "./nats-config.ts";
import type { AccountStorage } from "./nats-jwt.ts";
import { choosePort, findNatsServer, isFree, isServing, NatsUnavailable } from "./nats-listen.ts";
import { findByConfig, isAlive, type ProcessRecord, readRecord, recordOf, terminate, writeRecord } from "./nats-process.ts";
import { type NatsTrust, type NatsUser, openNatsTrust } from "./nats-trust.ts";

export interface EmbeddedNatsOptions {
  /** Keys, revocations, certificate and chosen ports: to be backed up; never under dataDir. */
  readonly trustDir: string;
  /** NATS's own: streams, configuration, process record, log. May be lost. */
  readonly dataDir: string;
  /** Address to listen on; default 127.0.0.1. */
  readonly host?: string;
  /** 0: chosen at the first start, and kept. */
  readonly port: number;
  /** Names and addresses that nodes connect to; default the listening address. */
  readonly advertisedHosts?: readonly string[];
  /** Handed in; default: made from a small CA of its own. */
  readonly certificate?: NatsCertificate;
  /** Absolute path; default: where distributions put it. */
  readonly binaryPath?: string;
  readonly storage?: AccountStorage;
  /** What becomes of the server when run() is asked to end; default "stop". */
  readonly atEnd?: "stop" | "leave";
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const DEFAULT_STORAGE: AccountStorage = { maxMemoryBytes: 1024 ** 3, maxDiskBytes: 8 * 1024 ** 3 };
const WATCH_MS = 500;
/**
 * The server may hold this many times what the account may: 2.9 reserves an account's limits a second time when its claims are
 * updated while its first client connects, and without room it leaves the account without JetStream until it is started again.
 */
const SERVER_HEADROOM = 4;
/**
 * The other half is the coordinator's. With more than it needs, Go wakes threads only to see that there is nothing to do: 10,000 beats a second
 * took 0.32 of a core with four, 0.25 with two, 0.20 with one, which is too few for a fleet that reconnects (a TLS handshake takes 1.2 ms).
 */
const SERVER_CORES = Math.max(1, Math.floor(availableParallelism() / 2));
/** The bus asks at least each 10 s; asked for less long, an account that is being set up would be cut off. */
const NO_STORAGE_MS = 10_000;
const LOOKS_PER_PRUNE = 20;
const START_DEADLINE_MS = 30_000;
const LOOKS_AT_LEAST = 3;
const ADOPT_DEADLINE_MS = 5_000;
const STOP_GRACE_MS = 10_000;
const REVOKE_DEADLINE_MS = 5_000;

const settingsFile = z.object({ serverName: z.string(), port: z.number(), monitorPort: z.number() });
type Settings = z.infer<typeof settingsFile>;

/** Reads or makes keys, certificate and ports; starts nothing yet. @throws when a file under trustDir is damaged */
export async function openEmbeddedNats(options: EmbeddedNatsOptions): Promise<EmbeddedNats> {
  const host = options.host ?? "127.0.0.1";
  const trust = openNatsTrust(options.trustDir, () => options.clock.now());
  const own = host === "0.0.0.0" || host === "::" ? [] : [host];
  const hosts = [...new Set([...(options.advertisedHosts ?? own), ...own, "localhost", "127.0.0.1"])];
  const certificate = options.certificate ?? (await openNatsCertificate(options.trustDir, hosts, options.clock.now()));
  const settings = await openSettings(options, host);
  return new EmbeddedNats(options, trust, certificate, settings);
}

export class EmbeddedNats implements NatsCredentialIssuer {
  readonly caPem: string;
  /** What nodes connect to. */
  readonly urls: readonly string[];
  /** What the coordinator itself connects to. */
  readonly localUrl: string;
  readonly trust: NatsTrust;
  readonly #options: EmbeddedNatsOptions;
  readonly #host: string;
  readonly #storage: AccountStorage;
  readonly #certificate: NatsCertificate;
  readonly #settings: Settings;
  #record: ProcessRecord | undefined;
  #starting: Promise<"adopted" | "started"> | undefined;
  /** Monotonic; since when the server has said that the account has no JetStream. */
  #noStorageSinceMs: number | undefined;
  #isStorageMissing = false;

  constructor(options: EmbeddedNatsOptions, trust: NatsTrust, certificate: NatsCertificate, settings: Settings) {
    this.#options = options;
    this.#host = options.host ?? "127.0.0.1";
    this.#storage = options.storage ?? DEFAULT_STORAGE;
    this.#certificate = certificate;
    this.#settings = settings;
    this.trust = trust;
    this.caPem = certificate.caPem;
    this.urls = (options.advertisedHosts ?? [this.#host]).map((host) => urlOf(host, settings.port));
    this.localUrl = urlOf(this.#host === "0.0.0.0" || this.#host === "::" ? "127.0.0.1" : this.#host, settings.port);
  }

  get busUrls(): readonly string[] {
    return [this.localUrl];
  }

  /** Of the running server; undefined: none known. */
  get pid(): number | undefined {
    return this.#record !== undefined && isAlive(this.#record) ? this.#record.pid : undefined;
  }

  issueUserJwt(node: { readonly nodeId: string; readonly publicKey: string; readonly notAfterMs: number }): string {
    return this.trust.issueUserJwt(node);
  }

  coordinatorUser(): NatsUser {
    return this.trust.coordinatorUser();
  }

  /** Durable at once, for this server and every later start; then cut. @throws when the running server could not be told within 5 s */
  async revokeUser(publicKey: string, atMs: number): Promise<void> {
    this.trust.revoke(publicKey, atMs);
    this.#renderConfig();
    await this.#pushClaims(REVOKE_DEADLINE_MS);
  }

  /** Takes over the server that runs already, or starts it. @throws NatsUnavailable with what to do about it */
  ensureRunning(): Promise<"adopted" | "started"> {
    this.#starting ??= this.#ensureRunning().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  /** Restarts the server when it dies or its data directory is gone; ends with the signal, as `atEnd` says. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const backoff = exponentialBackoff(this.#options.random, { baseMs: 200, maxMs: 10_000 });
    // Whoever waited for it before has looked: to look again while the loop is busy with a start would only find it slow.
    if (this.pid === undefined) await this.ensureRunning();
    for (let looks = 0; !signal.aborted; looks++) {
      await sleep(clock, WATCH_MS, signal).catch(() => undefined);
      if (looks % LOOKS_PER_PRUNE === 0) pruneLogs(this.#options.dataDir);
      if (signal.aborted || (this.pid !== undefined && this.#hasData() && !this.#isStorageMissing)) continue;
      log.warn(
        { pid: this.#record?.pid, hasData: this.#hasData(), isStorageMissing: this.#isStorageMissing },
        "nats-server is gone, has lost its data or gives the account no JetStream; starting it again",
      );
      try {
        await this.ensureRunning();
        backoff.reset();
      } catch (error) {
        log.error({ error: (error as Error).message }, "nats-server could not be started again");
        await sleep(clock, backoff.nextDelayMs(), signal).catch(() => undefined);
      }
    }
    if (this.#options.atEnd === "leave") this.leave();
    else await this.stop();
  }

  /** Orderly end of the server. */
  async stop(): Promise<void> {
    await this.#starting?.catch(() => undefined);
    // Another coordinator may have started another one in the same place since.
    for (const record of [this.#record, readRecord(this.#path("nats.pid.json"))]) {
      if (record !== undefined && isAlive(record)) await terminate(record, STOP_GRACE_MS, this.#options.clock);
    }
    rmSync(this.#path("nats.pid.json"), { force: true });
    this.#record = undefined;
  }

  /** Forgets the server and lets it run, for the next coordinator to adopt. */
  leave(): void {
    this.#record = undefined;
  }

  /** The bus tells what the server answered: whether the account has JetStream. A server that goes on denying it is started again. */
  noteStorage(isThere: boolean): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#noStorageSinceMs = isThere ? undefined : (this.#noStorageSinceMs ?? nowMs);
    this.#isStorageMissing = this.#noStorageSinceMs !== undefined && nowMs - this.#noStorageSinceMs >= NO_STORAGE_MS;
  }

  async #ensureRunning(): Promise<"adopted" | "started"> {
    const { clock, log } = this.#options;
    makePrivateDirectory(this.#options.dataDir);
    const record = readRecord(this.#path("nats.pid.json")) ?? findByConfig(this.#path("nats.conf"));
    if (record !== undefined && isAlive(record)) {
      const isWhole = this.#hasData() && !this.#isStorageMissing;
      if (record.fingerprint === this.#fingerprint() && isWhole && (await this.#serves(record, ADOPT_DEADLINE_MS))) {
        this.#record = record;
        // A coordinator killed between writing a revocation and telling it left the server with older claims.
        await this.#pushClaims(START_DEADLINE_MS);
        log.info({ pid: record.pid }, "nats-server adopted");
        return "adopted";
      }
      log.warn({ pid: record.pid }, "nats-server runs with other settings, without its data, or does not answer; ending it");
      await terminate(record, STOP_GRACE_MS, clock);
    }
    await this.#start();
    this.noteStorage(true);
    return "started";
  }

  async #start(): Promise<void> {
    const { clock, log } = this.#options;
    const { port, monitorPort } = this.#settings;
    const binary = findNatsServer(this.#options.binaryPath);
    for (const [what, host, wanted] of [
      ["port", this.#host, port],
      ["monitor port", "127.0.0.1", monitorPort],
    ] as const) {
      if (await isFree(host, wanted)) continue;
      const next = `see who has it (ss -ltnp 'sport = :${wanted}'), end that program or configure another port`;
      throw new NatsUnavailable("PortTaken", `nats-server's ${what} ${host}:${wanted} is taken by another program: ${next}`);
    }
    this.#renderConfig();
    const output = openOutput(this.#options.dataDir);
    let ended: Promise<string>;
    try {
      // Of its own session, so that no signal to the coordinator's group reaches it; with files, not pipes, that would break with us.
      const child = spawn(binary, ["--config", this.#path("nats.conf")], {
        detached: true,
        stdio: ["ignore", output, output],
        env: { GOMAXPROCS: String(SERVER_CORES) },
        cwd: this.#options.dataDir,
      });
      ended = new Promise((resolve) => {
        child.once("exit", (code, signalName) => resolve(signalName ?? `exit code ${code}`));
        child.once("error", (error) => resolve(error.message));
      });
      child.unref();
      this.#record = child.pid === undefined ? undefined : recordOf(child.pid, this.#fingerprint());
    } finally {
      closeSync(output);
    }
    if (this.#record !== undefined) writeRecord(this.#path("nats.pid.json"), this.#record);
    if (this.#record === undefined || !(await this.#serves(this.#record, START_DEADLINE_MS))) {
      if (this.#record !== undefined && isAlive(this.#record)) await terminate(this.#record, 1_000, clock);
      // Seen in /proc as gone, it may still be on its way to us as an event.
      const exit = await Promise.race([ended, sleep(clock, 1_000).then(() => "no answer at its monitor")]);
      const { dataDir } = this.#options;
      throw new NatsUnavailable("DidNotStart", `nats-server did not start (${exit}); its last words in ${dataDir}:\n${lastWords(dataDir)}`);
    }
    log.info({ pid: this.#record.pid, port }, "nats-server started");
  }

  async #serves(record: ProcessRecord, deadlineMs: number): Promise<boolean> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + deadlineMs;
    // Time alone proves nothing: when our own loop was held up, the deadline has passed before the answer was read.
    for (let looks = 0; isAlive(record) && (looks < LOOKS_AT_LEAST || clock.monotonicMs() < endMs); looks += 1) {
      if (await isServing(this.#settings.monitorPort, this.#settings.serverName, clock)) return true;
      await sleep(clock, 20);
    }
    return false;
  }

  #pushClaims(deadlineMs: number): Promise<void> {
    const { clock, random } = this.#options;
    const target = {
      url: this.localUrl,
      caPem: this.caPem,
      systemUser: () => this.trust.systemUser(),
      accountId: this.trust.accountId,
      clock,
      random,
    };
    return pushAccountClaims(target, () => this.trust.accountJwt(this.#storage), deadlineMs);
  }

  #renderConfig(): void {
    makePrivateDirectory(this.#options.dataDir);
    const accounts = {
      [this.trust.accountId]: this.trust.accountJwt(this.#storage),
      [this.trust.systemAccountId]: this.trust.systemAccountJwt(),
    };
    writeDurably(this.#path("nats.conf"), renderNatsConfig({ ...this.#fixedConfig(), operatorJwt: this.trust.operatorJwt(), accounts }));
  }

  #fixedConfig(): Omit<NatsServerConfig, "accounts" | "operatorJwt"> {
    return {
      serverName: this.#settings.serverName,
      host: this.#host,
      port: this.#settings.port,
      monitorPort: this.#settings.monitorPort,
      storeDir: this.#path("store"),
      maxMemoryBytes: SERVER_HEADROOM * this.#storage.maxMemoryBytes,
      maxDiskBytes: SERVER_HEADROOM * this.#storage.maxDiskBytes,
      certificatePath: this.#certificate.certificatePath,
      keyPath: this.#certificate.keyPath,
      log: { path: logPath(this.#options.dataDir), maxBytes: LOG_FILE_BYTES },
      systemAccountId: this.trust.systemAccountId,
    };
  }

  #fingerprint(): string {
    const certificate = readIfThere(this.#certificate.certificatePath) ?? "";
    return createHash("sha256").update(JSON.stringify(this.#fixedConfig())).update(certificate).digest("hex");
  }

  #hasData(): boolean {
    return existsSync(this.#path("store/jetstream"));
  }

  #path(name: string): string {
    return join(this.#options.dataDir, name);
  }
}

function urlOf(host: string, port: number): string {
  return `tls://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

async function openSettings(options: EmbeddedNatsOptions, host: string): Promise<Settings> {
  const path = join(options.trustDir, "nats-listen.json");
  const bytes = readIfThere(path);
  const kept = bytes === undefined ? undefined : settingsFile.parse(JSON.parse(bytes.toString()));
  if (kept !== undefined && (options.port === 0 || options.port === kept.port)) return kept;
  const settings = {
    serverName: kept?.serverName ?? `drover-${options.random.bytes(8).toString("hex")}`,
    port: options.port === 0 ? await choosePort(host, options.random) : options.port,
    monitorPort: kept?.monitorPort ?? (await choosePort("127.0.0.1", options.random)),
  };
  writeDurably(path, JSON.stringify(settings));
  return settings;
}
