/**
 * NATS on a machine of its own, whose clock can be moved: nats-server asks the kernel for the time, past every library that could be put before it, and
 * no namespace shifts the wall clock. For the coordinator it is an outside NATS.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dataFiles, openNatsTrust, renderNatsConfig } from "@drover/coordinator/real";
import { Bed } from "../../testbed/bed.ts";
import { eventually } from "../../testbed/program.ts";
import { makeCertificate } from "../peers/certificate.ts";
import { forwarder } from "./forward.ts";

export interface NatsInVm extends AsyncDisposable {
  /** For coordinator.yaml. */
  readonly coordinatorConfig: Readonly<Record<string, unknown>>;
  /** Puts the machine's wall clock that much forward, or back. */
  moveClock(seconds: number): Promise<void>;
}

const PORT = 4222;
const GUEST = "/etc/drover-nats";
const STORAGE = { maxMemoryBytes: 256 * 2 ** 20, maxDiskBytes: 2 * 2 ** 30 };

/** @param directory the simulation's: its agents connect as the keys in it say */
export async function startNatsInVm(directory: string): Promise<NatsInVm> {
  const trustDir = dataFiles(join(directory, "data")).natsTrust;
  await mkdir(trustDir, { recursive: true });
  const trust = openNatsTrust(trustDir);
  const { keyFile, certFile } = await makeCertificate(directory);
  const config = renderNatsConfig({
    serverName: "nats-in-vm",
    host: "0.0.0.0",
    port: PORT,
    monitorPort: PORT + 1,
    storeDir: "/var/lib/drover-nats",
    ...STORAGE,
    certificatePath: `${GUEST}/cert.pem`,
    keyPath: `${GUEST}/key.pem`,
    operatorJwt: trust.operatorJwt(),
    systemAccountId: trust.systemAccountId,
    accounts: { [trust.accountId]: trust.accountJwt(STORAGE), [trust.systemAccountId]: trust.systemAccountJwt() },
  });
  const bed = await Bed.make();
  try {
    const machine = await bed.addVirtualMachine("nats", {
      files: {
        [`${GUEST}/nats.conf`]: config,
        [`${GUEST}/cert.pem`]: await readFile(certFile, "utf8"),
        [`${GUEST}/key.pem`]: await readFile(keyFile, "utf8"),
      },
      copies: { "/usr/sbin/nats-server": "/usr/sbin/nats-server" },
    });
    const nats = await machine.spawn("/usr/sbin/nats-server", ["--config", `${GUEST}/nats.conf`], join(directory, "nats-in-vm.log"));
    const socket = join(directory, "nats.sock");
    const forward = fileURLToPath(new URL("./forward-main.ts", import.meta.url));
    await bed.spawn(process.execPath, [forward, socket, machine.address, String(PORT)], join(directory, "forward.log"));
    const port = await listenFor(socket);
    await eventually("NATS greets in the virtual machine", 60_000, () => isGreeted(port)).catch(async (error: unknown) => {
      throw new Error(`NATS does not serve in the virtual machine; it said: ${(await nats.log()).slice(-1_000)}`, { cause: error });
    });
    const outside = {
      urls: [`tls://127.0.0.1:${port}`],
      accountId: trust.accountId,
      caFile: certFile,
      ...(await keyFiles(directory, trust, trustDir)),
    };
    return {
      coordinatorConfig: { nats: { outside } },
      async moveClock(seconds) {
        const moved = await machine.run("date", ["--set", `${seconds} seconds`]);
        if (moved.exitCode !== 0) throw new Error(`the virtual machine's clock could not be moved: ${moved.stderr}`);
      },
      [Symbol.asyncDispose]: () => bed[Symbol.asyncDispose](),
    };
  } catch (error) {
    await bed[Symbol.asyncDispose]();
    throw error;
  }
}

/** A port on loopback here whose connections go on to the socket; it holds nobody up. */
async function listenFor(socket: string): Promise<number> {
  const server = forwarder(() => connect(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return (server.address() as AddressInfo).port;
}

/** NATS speaks first, before TLS. */
async function isGreeted(port: number): Promise<boolean> {
  const socket = connect({ host: "127.0.0.1", port });
  try {
    const [greeting] = (await once(socket, "data", { signal: AbortSignal.timeout(5_000) })) as [Buffer];
    return greeting.toString("latin1").startsWith("INFO ");
  } finally {
    socket.destroy();
  }
}

/** What an operator of NATS would hand over. */
async function keyFiles(directory: string, trust: ReturnType<typeof openNatsTrust>, trustDir: string) {
  const seeds = JSON.parse(await readFile(join(trustDir, "nats-seeds.json"), "utf8")) as { readonly account: string };
  const { jwt, seed } = trust.systemUser();
  const files = { accountSigningKeyFile: join(directory, "account.nk"), systemUserCredsFile: join(directory, "system.creds") };
  const creds = `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
  await writeFile(files.accountSigningKeyFile, `${seeds.account}\n`, { mode: 0o600 });
  await writeFile(files.systemUserCredsFile, creds, { mode: 0o600 });
  return files;
}
