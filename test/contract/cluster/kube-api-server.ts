/** A real kube-apiserver on a real etcd, on loopback, with RBAC and bootstrap tokens: everything of a cluster but nodes and controllers. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { eventually, type SpawnedProgram, spawnProgram } from "../../testbed/program.ts";
import type { KubernetesBinaries } from "../../testbed/roots/kubernetes-binaries.ts";

export interface KubeApiServer {
  /** Of system:masters, by client certificate. */
  readonly adminKubeconfig: string;
  readonly endpoint: string;
  /** "sha256:<hex>", as openssl computes it. */
  readonly caCertHash: string;
  /** A kubeconfig by token of somebody who may nothing; of another token: of nobody. */
  tokenKubeconfig(token?: string): string;
  /** What the server answers to GET path by that bearer token, as an HTTP status. */
  statusOf(path: string, bearer: string): Promise<number>;
  /** kubectl with the admin's kubeconfig. */
  kubectl(...args: string[]): Promise<string>;
  /** Writes a file for kubectl. @returns its path */
  file(name: string, text: string): Promise<string>;
  /** Ends the server, not what it has stored. */
  stop(): Promise<void>;
  start(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const NOBODY_TOKEN = "nobody-may-nothing";

export async function startKubeApiServer({ directory }: KubernetesBinaries): Promise<KubeApiServer> {
  const bin = join(directory, "v1.20.2");
  const home = await mkdtemp(join(tmpdir(), "drover-kube-api-"));
  const [port, etcdPort, etcdPeerPort] = await freePorts(3);
  const pki = join(home, "pki");
  await makeCertificates(join(bin, "kubeadm"), home, pki, port!);
  await writeFile(join(home, "tokens.csv"), `${NOBODY_TOKEN},nobody,1\n`, { mode: 0o600 });
  await mkdir(join(home, "etcd"), { mode: 0o700 });
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${etcdPeerPort}`;
  const etcd = await spawnProgram(
    "/usr/bin/etcd",
    [
      `--data-dir=${join(home, "etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      "--unsafe-no-fsync",
    ],
    { logFile: join(home, "etcd.log") },
  );
  const adminKubeconfig = await readFile(join(home, "admin.conf"), "utf8");
  let running: SpawnedProgram | undefined;
  const server: KubeApiServer = {
    adminKubeconfig,
    endpoint: `127.0.0.1:${port}`,
    caCertHash: await opensslHash(join(pki, "ca.crt")),
    tokenKubeconfig: (token = NOBODY_TOKEN) => tokenKubeconfig(adminKubeconfig, token),
    async statusOf(path, bearer) {
      const url = `https://127.0.0.1:${port}${path}`;
      const headers = ["--header", `Authorization: Bearer ${bearer}`];
      const { stdout } = await execa("curl", [
        "--silent",
        "--cacert",
        join(pki, "ca.crt"),
        ...headers,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        url,
      ]);
      return Number(stdout);
    },
    async kubectl(...args) {
      const { stdout } = await execa(join(bin, "kubectl"), [`--kubeconfig=${join(home, "admin.conf")}`, ...args]);
      return stdout;
    },
    async file(name, text) {
      await writeFile(join(home, name), text);
      return join(home, name);
    },
    async stop() {
      await running?.stop();
      running = undefined;
    },
    async start() {
      running = await spawnProgram(join(bin, "kube-apiserver"), serverArguments({ pki, home, port: port!, etcdUrl }), {
        logFile: join(home, "kube-apiserver.log"),
      });
      await isReady(server, running);
    },
    async [Symbol.asyncDispose]() {
      await server.stop();
      await etcd.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
  await server.start().catch(async (error: unknown) => {
    await server[Symbol.asyncDispose]();
    throw error;
  });
  return server;
}

async function isReady(server: KubeApiServer, running: SpawnedProgram): Promise<void> {
  let end: number | string | undefined;
  void running.ended.then((code) => (end = code));
  await eventually("kube-apiserver is ready", 60_000, async () => {
    if (end !== undefined) throw new Error(`kube-apiserver ended with ${end}:\n${(await running.log()).slice(-2000)}`);
    const ready = await server.kubectl("get", "--raw", "/readyz").catch(() => "");
    return ready === "ok" ? true : undefined;
  });
}

/** As kubeadm makes them for a first control plane. It takes no loopback address as the server's own, so that one is a name more. */
async function makeCertificates(kubeadm: string, home: string, pki: string, port: number): Promise<void> {
  const config = join(home, "kubeadm.yaml");
  const text = `apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.1.2.3, bindPort: ${port}}
nodeRegistration: {name: control-plane}
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: v1.20.2
certificatesDir: ${pki}
controlPlaneEndpoint: 127.0.0.1:${port}
apiServer: {certSANs: [127.0.0.1, localhost]}
`;
  await writeFile(config, text);
  for (const phase of ["ca", "apiserver", "sa"])
    await execa(kubeadm, ["init", "phase", "certs", phase, ...(phase === "sa" ? ["--cert-dir", pki] : ["--config", config])]);
  await execa(kubeadm, ["init", "phase", "kubeconfig", "admin", "--config", config, "--kubeconfig-dir", home]);
}

function serverArguments({ pki, home, port, etcdUrl }: { pki: string; home: string; port: number; etcdUrl: string }): string[] {
  return [
    "--bind-address=127.0.0.1",
    `--secure-port=${port}`,
    "--insecure-port=0",
    "--advertise-address=10.1.2.3",
    "--endpoint-reconciler-type=none",
    `--etcd-servers=${etcdUrl}`,
    `--client-ca-file=${join(pki, "ca.crt")}`,
    `--tls-cert-file=${join(pki, "apiserver.crt")}`,
    `--tls-private-key-file=${join(pki, "apiserver.key")}`,
    `--service-account-key-file=${join(pki, "sa.pub")}`,
    `--service-account-signing-key-file=${join(pki, "sa.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=Node,RBAC",
    "--enable-bootstrap-token-auth",
    `--token-auth-file=${join(home, "tokens.csv")}`,
    `--cert-dir=${join(home, "run")}`,
  ];
}

function tokenKubeconfig(adminKubeconfig: string, token: string): string {
  const [, server] = /server: (\S+)/.exec(adminKubeconfig)!;
  const [, authority] = /certificate-authority-data: (\S+)/.exec(adminKubeconfig)!;
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: { server, "certificate-authority-data": authority } }],
    users: [{ name: "u", user: { token } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
}

/** The recipe of kubeadm's documentation. */
async function opensslHash(certificate: string): Promise<string> {
  const key = await execa("/usr/bin/openssl", ["x509", "-pubkey", "-noout", "-in", certificate]);
  const der = await execa("/usr/bin/openssl", ["pkey", "-pubin", "-outform", "der"], { input: key.stdout, encoding: "buffer" });
  const digest = await execa("/usr/bin/openssl", ["dgst", "-sha256", "-r"], { input: der.stdout });
  return `sha256:${digest.stdout.split(" ")[0]}`;
}

/** Held all at once, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
