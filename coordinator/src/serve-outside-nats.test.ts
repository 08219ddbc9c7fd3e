/** The whole process on a NATS that is somebody else's: a node enrolls, is heard, and is cut when it is revoked. */
import "reflect-metadata";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { credentials, type ServiceError } from "@grpc/grpc-js";
import { EnrollmentClient, type EnrollResponse, OperatorClient } from "@drover/proto";
import { systemClock } from "@drover/lifecycle";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { until } from "./bus/bus-conformance.ts";
import { Nkey } from "./bus/nkey.ts";
import { openOutsideServers } from "./bus/outside-nats-testbed.ts";
import { type BoundPorts, dataFiles } from "./data-files.ts";
import { openAuthority } from "./identity/authority.ts";
import { Machine } from "./identity/enrolment-fixture.ts";
import type { OperatorContext } from "./operator-context.ts";

const MAIN = join(import.meta.dirname, "main.ts");

it("serves nodes through an outside cluster, and cuts a revoked one there", async () => {
  await using servers = await openOutsideServers({ count: 2, resolver: "full" });
  const directory = await mkdtemp(join(tmpdir(), "drover-outside-"));
  const configFile = join(directory, "coordinator.yaml");
  const { accountSigningKeyFile, systemUserCredsFile, operatorSigningKeyFile, caFile, urls, accountId } = servers;
  const any = "127.0.0.1:0";
  const config = {
    dataDir: join(directory, "data"),
    listen: { session: any, enrolment: any, metrics: any },
    advertise: { hosts: ["localhost"] },
    nats: { outside: { urls, accountId, accountSigningKeyFile, systemUserCredsFile, operatorSigningKeyFile, caFile } },
  };
  await writeFile(configFile, JSON.stringify(config));
  const command = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)(process.execPath, [MAIN, ...args, "--config", configFile], { timeout: 60_000 })).stdout;
  const child = spawn(process.execPath, [MAIN, "run", "--config", configFile], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    for await (const line of createInterface({ input: child.stdout })) if (line.includes('"msg":"serving"')) break;
    child.stdout.resume();
    const files = dataFiles(config.dataDir);
    const ports = JSON.parse(await readFile(files.ports, "utf8")) as BoundPorts;
    const authority = await openAuthority(files.authority, systemClock);

    const [machine, natsKey] = [new Machine(), Nkey.create("user")];
    const token = /^token: +(\S+)/m.exec(await command("token", "create"))![1]!;
    const enrolment = new EnrollmentClient(`localhost:${ports.enrolment}`, credentials.createSsl(Buffer.from(authority.bundlePem)));
    const request = { ...(await machine.enrollRequest(token)), natsPublicKey: natsKey.publicKey };
    const { credential } = await answerOf<EnrollResponse>((done) => enrolment.enroll(request, done));
    enrolment.close();
    expect(credential!.natsUrls).toEqual(urls);
    const node = await servers.connectAs(natsKey, credential!.natsUserJwt, urls[1]);

    const context = join(directory, "context.yaml");
    await command("operator", "create", "ann", "--role", "admin", "--out", context);
    const [ann] = (parse(await readFile(context, "utf8")) as { contexts: OperatorContext[] }).contexts;
    const tls = credentials.createSsl(Buffer.from(ann!.caPem), Buffer.from(ann!.keyPem), Buffer.from(ann!.certificatePem));
    const operator = new OperatorClient(ann!.endpoint, tls);
    // The process that serves sees what another wrote within half a second.
    await until(() =>
      answerOf((done) => operator.revokeNode({ node: "worker", reason: "lost" }, done)).then(
        () => true,
        () => false,
      ),
    );
    operator.close();
    await until(() => node.isClosed(), 5_000);
    await expect(servers.connectAs(natsKey, credential!.natsUserJwt)).rejects.toThrow();
    expect(await command("doctor")).toMatch(/ 0 failed, 0 with a warning\n$/);

    const ended = once(child, "exit");
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  }
}, 120_000);

function answerOf<T>(call: (callback: (error: ServiceError | null, answer: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, answer) => (error === null ? resolve(answer) : reject(error))));
}
