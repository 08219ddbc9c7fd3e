/** A real etcd of one member, with what Kubernetes sets for it: compaction each 5 min and room for 8 GiB. Plain on loopback, which is the cheapest. */
import { join } from "node:path";
import { eventually, spawnProgram } from "../../testbed/program.ts";

export interface Etcd extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  /** Puts that it has committed since its start. */
  puts(): Promise<number>;
}

/** @param port of the client's door; the next is taken, too */
export async function startEtcd(directory: string, port: number): Promise<Etcd> {
  const url = `http://127.0.0.1:${port}`;
  const peerUrl = `http://127.0.0.1:${port + 1}`;
  const name = ["--name", "peer", "--data-dir", join(directory, "etcd"), "--log-level", "error"];
  const urls = ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peerUrl];
  const member = ["--initial-advertise-peer-urls", peerUrl, "--initial-cluster", `peer=${peerUrl}`];
  const care = ["--auto-compaction-mode=periodic", "--auto-compaction-retention=5m", `--quota-backend-bytes=${8 * 2 ** 30}`];
  const etcd = await spawnProgram("etcd", [...name, ...urls, ...member, ...care], { logFile: join(directory, "etcd.log") });
  try {
    await eventually("etcd is healthy", 20_000, async () => (await fetch(`${url}/health`)).ok);
  } catch (cause) {
    await etcd.stop(0);
    throw new Error(`etcd did not start: ${await etcd.log()}`, { cause });
  }
  return {
    pid: etcd.pid,
    port,
    async puts() {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      return Number(/^etcd_mvcc_put_total (\S+)/m.exec(metrics)?.[1] ?? /^etcd_debugging_mvcc_put_total (\S+)/m.exec(metrics)?.[1] ?? "0");
    },
    async [Symbol.asyncDispose]() {
      await etcd.stop(5_000);
    },
  };
}
