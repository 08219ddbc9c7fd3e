/** A kubeconfig, read strictly: its current context alone, and only what needs no file, no program and no blind trust. Pure. */
import { createHash, createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readYaml } from "@drover/api";
import { Secret } from "@drover/lifecycle";

const MAX_BYTES = 256 * 1024;

export interface Kubeconfig {
  /** The API server, "https://host:port". */
  readonly server: string;
  /** "host:port". */
  readonly endpoint: string;
  /** What its certificate is for, where that is not the host. */
  readonly tlsServerName: string | undefined;
  readonly caPem: string;
  /** Of each CA in it, sorted, as kubeadm's discovery-token-ca-cert-hash: "sha256:<hex>". */
  readonly caCertHashes: readonly string[];
  readonly credential: Credential;
}

export type Credential =
  | { readonly kind: "certificate"; readonly certificatePem: string; readonly key: Secret }
  | { readonly kind: "token"; readonly token: Secret };

/** Problems name fields and never quote values: those may be secrets. */
export type KubeconfigReading =
  | { readonly ok: true; readonly kubeconfig: Kubeconfig }
  | { readonly ok: false; readonly problems: readonly string[] };

type Mapping = Readonly<Record<string, unknown>>;

class Unfit extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("; "));
    this.problems = problems;
  }
}

/** @param nowMs by which its client certificate must still be valid */
export function readKubeconfig(text: Secret, nowMs: number): KubeconfigReading {
  try {
    return { ok: true, kubeconfig: read(text.reveal(), nowMs) };
  } catch (error) {
    if (error instanceof Unfit) return { ok: false, problems: error.problems };
    throw error;
  }
}

/** The same, of its current context alone, to be stored: credentials of other clusters are none of ours. */
export function writeKubeconfig({ server, tlsServerName, caPem, credential }: Kubeconfig): Secret {
  const name = "cluster";
  const cluster = {
    server,
    "certificate-authority-data": base64(caPem),
    ...(tlsServerName === undefined ? {} : { "tls-server-name": tlsServerName }),
  };
  const user =
    credential.kind === "token"
      ? { token: credential.token.reveal() }
      : { "client-certificate-data": base64(credential.certificatePem), "client-key-data": base64(credential.key.reveal()) };
  return new Secret(
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster }],
      users: [{ name, user }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      "current-context": name,
    }),
  );
}

function read(text: string, nowMs: number): Kubeconfig {
  if (Buffer.byteLength(text) > MAX_BYTES) throw new Unfit([`it is larger than ${MAX_BYTES / 1024} KiB`]);
  const config = parse(text);
  if (config["kind"] !== "Config" || config["apiVersion"] !== "v1")
    throw new Unfit(["it is no kubeconfig: kind must be Config, apiVersion v1"]);
  const current = config["current-context"];
  if (typeof current !== "string" || current === "") {
    throw new Unfit(["current-context is not set; choose one: kubectl config use-context NAME"]);
  }
  const context = named(config, "contexts", current, "context");
  const cluster = named(config, "clusters", textOf(context, "cluster", "the current context"), "cluster");
  const user = named(config, "users", textOf(context, "user", "the current context"), "user");
  const problems = [
    ...refused(context, "the current context", CONTEXT_FIELDS, {}),
    ...refused(cluster, "its cluster", CLUSTER_FIELDS, REFUSED_OF_CLUSTER),
    ...refused(user, "its user", USER_FIELDS, REFUSED_OF_USER),
  ];
  if (problems.length > 0) throw new Unfit(problems);
  const { server, endpoint } = serverOf(textOf(cluster, "server", "its cluster"));
  const { caPem, caCertHashes } = authoritiesOf(cluster);
  const tlsServerName = cluster["tls-server-name"] === undefined ? undefined : textOf(cluster, "tls-server-name", "its cluster");
  return { server, endpoint, tlsServerName, caPem, caCertHashes, credential: credentialOf(user, nowMs) };
}

function parse(text: string): Mapping {
  const reading = readYaml(text);
  // What the parser says quotes the text.
  if (!reading.ok) throw new Unfit(reading.errors.slice(0, 3).map(({ line, column }) => `line ${line}, column ${column}: is no YAML`));
  if (reading.documents.length !== 1) throw new Unfit([`it has ${reading.documents.length} documents, a kubeconfig has one`]);
  const value = reading.documents[0]!.value;
  if (!isMapping(value)) throw new Unfit(["it is no kubeconfig: it must be a mapping"]);
  return value;
}

/** The one entry of that name in a list such as clusters: [{name, cluster: {...}}]. */
function named(config: Mapping, list: string, name: string, field: string): Mapping {
  const entries = config[list];
  const found = Array.isArray(entries) ? entries.filter((entry) => isMapping(entry) && entry["name"] === name) : [];
  if (found.length === 0) throw new Unfit([`${list} has no entry with the name that the current context says`]);
  if (found.length > 1) throw new Unfit([`${list} has ${found.length} entries of one name; keep one`]);
  const inner = (found[0] as Mapping)[field];
  if (!isMapping(inner)) throw new Unfit([`${list} has an entry without ${field}`]);
  return inner;
}

const INLINE = "put what it holds into the kubeconfig: kubectl config view --raw --flatten --minify";
const CONTEXT_FIELDS: ReadonlySet<string> = new Set(["cluster", "user", "namespace", "extensions"]);
const CLUSTER_FIELDS: ReadonlySet<string> = new Set([
  "server",
  "certificate-authority-data",
  "tls-server-name",
  "disable-compression",
  "extensions",
]);
const USER_FIELDS: ReadonlySet<string> = new Set(["client-certificate-data", "client-key-data", "token", "extensions"]);
const REFUSED_OF_CLUSTER: Readonly<Record<string, string>> = {
  "certificate-authority": `names a file; ${INLINE}`,
  "insecure-skip-tls-verify": "would trust any server; give certificate-authority-data instead",
  "proxy-url": "sends the traffic elsewhere; the coordinator must reach the API server directly",
};
const NO_PROGRAM = "the coordinator runs no programs for credentials; make a service account with a token, or a client certificate";
const REFUSED_OF_USER: Readonly<Record<string, string>> = {
  "client-certificate": `names a file; ${INLINE}`,
  "client-key": `names a file; ${INLINE}`,
  tokenFile: `names a file; ${INLINE}`,
  exec: NO_PROGRAM,
  "auth-provider": NO_PROGRAM,
  username: "is a password's; Kubernetes knows those no more: give a token or a client certificate",
  password: "is no credential that Kubernetes still knows: give a token or a client certificate",
  as: "acts as somebody else; give that identity's own credential",
  "as-uid": "acts as somebody else; give that identity's own credential",
  "as-groups": "acts as somebody else; give that identity's own credential",
  "as-user-extra": "acts as somebody else; give that identity's own credential",
};

function refused(entry: Mapping, whose: string, known: ReadonlySet<string>, why: Readonly<Record<string, string>>): string[] {
  const isSet = (field: string): boolean =>
    entry[field] !== undefined && entry[field] !== null && entry[field] !== "" && entry[field] !== false;
  return Object.keys(entry)
    .filter((field) => !known.has(field) && isSet(field))
    .map((field) => `${field} of ${whose} ${why[field] ?? "is not known here"}`);
}

function serverOf(text: string): { readonly server: string; readonly endpoint: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw new Unfit(["server of its cluster is no URL"]);
  if (url.protocol !== "https:") throw new Unfit(["server of its cluster must be https"]);
  if (url.username !== "" || url.password !== "") throw new Unfit(["server of its cluster holds a password"]);
  if (url.search !== "" || url.hash !== "" || url.pathname !== "/") {
    throw new Unfit(["server of its cluster has a path: nodes join at https://host:port, and so must the coordinator"]);
  }
  const endpoint = `${url.hostname}:${url.port === "" ? "443" : url.port}`;
  return { server: `https://${endpoint}`, endpoint };
}

function authoritiesOf(cluster: Mapping): { readonly caPem: string; readonly caCertHashes: readonly string[] } {
  const field = "certificate-authority-data of its cluster";
  const pem = pemOf(cluster, "certificate-authority-data", "its cluster");
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const certificates = blocks.map((block) => certificateOf(block, field));
  const hashes = certificates.filter(({ ca }) => ca).map(hashOf);
  if (hashes.length === 0) throw new Unfit([`${field} holds no CA certificate`]);
  return { caPem: `${blocks.join("\n")}\n`, caCertHashes: [...new Set(hashes)].sort() };
}

/** As kubeadm: over the SubjectPublicKeyInfo. */
function hashOf({ publicKey }: X509Certificate): string {
  return `sha256:${createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex")}`;
}

function credentialOf(user: Mapping, nowMs: number): Credential {
  const has = (field: string): boolean => user[field] !== undefined && user[field] !== null && user[field] !== "";
  const hasCertificate = has("client-certificate-data") || has("client-key-data");
  if (has("token") && hasCertificate) throw new Unfit(["its user has both a token and a client certificate; leave one of them out"]);
  if (has("token")) {
    const token = textOf(user, "token", "its user");
    if (!/^[\x21-\x7e]+$/.test(token)) throw new Unfit(["token of its user holds blanks or control characters"]);
    return { kind: "token", token: new Secret(token) };
  }
  if (!hasCertificate) throw new Unfit(["its user has no credential: give token, or client-certificate-data and client-key-data"]);
  const certificatePem = pemOf(user, "client-certificate-data", "its user");
  const key = new Secret(pemOf(user, "client-key-data", "its user"));
  const certificate = certificateOf(certificatePem, "client-certificate-data of its user");
  if (!certificate.checkPrivateKey(keyOf(key)))
    throw new Unfit(["client-key-data of its user is not the key of its client-certificate-data"]);
  const endMs = Date.parse(certificate.validTo);
  if (endMs <= nowMs) throw new Unfit([`client-certificate-data of its user ended on ${new Date(endMs).toISOString()}; renew it`]);
  return { kind: "certificate", certificatePem, key };
}

function certificateOf(pem: string, field: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new Unfit([`${field} is no certificate`]);
  }
}

function keyOf(pem: Secret): KeyObject {
  try {
    return createPrivateKey(pem.reveal());
  } catch {
    throw new Unfit(["client-key-data of its user is no private key, or one with a passphrase"]);
  }
}

function pemOf(entry: Mapping, field: string, whose: string): string {
  const text = textOf(entry, field, whose).replaceAll(/\s/g, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw new Unfit([`${field} of ${whose} is no base64`]);
  const pem = Buffer.from(text, "base64").toString("utf8");
  if (!pem.includes("-----BEGIN ")) throw new Unfit([`${field} of ${whose} is no PEM in base64`]);
  return pem;
}

function textOf(entry: Mapping, field: string, whose: string): string {
  const value = entry[field];
  if (value === undefined || value === null || value === "") throw new Unfit([`${field} of ${whose} is missing`]);
  if (typeof value !== "string") throw new Unfit([`${field} of ${whose} must be text`]);
  return value;
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
