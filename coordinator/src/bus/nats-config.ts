/** The embedded server's configuration file, rendered; pure. */

export interface NatsServerConfig {
  readonly serverName: string;
  readonly host: string;
  readonly port: number;
  /** On loopback only. */
  readonly monitorPort: number;
  readonly storeDir: string;
  readonly maxMemoryBytes: number;
  readonly maxDiskBytes: number;
  readonly certificatePath: string;
  readonly keyPath: string;
  /** undefined: to its standard error. */
  readonly log?: { readonly path: string; readonly maxBytes: number };
  readonly operatorJwt: string;
  readonly systemAccountId: string;
  /** Account id to JWT: what the server knows when it starts; later changes reach it as claims updates. */
  readonly accounts: Readonly<Record<string, string>>;
}

/** Account claims travel as one message: room for some 50,000 revoked users. Nodes are held to less by their own JWT. */
const MAX_PAYLOAD_BYTES = 4 * 1024 * 1024;

/** An overloaded machine takes its time over TLS; cut off at five seconds it tried again and again, and never got in. */
const HANDSHAKE_SECONDS = 30;

export function renderNatsConfig(config: NatsServerConfig): string {
  return `# Rendered by drover-coordinator at each start of this server; changes here are overwritten.
server_name: ${text(config.serverName)}
host: ${text(config.host)}
port: ${config.port}
http: ${text(`127.0.0.1:${config.monitorPort}`)}
${config.log === undefined ? "" : `log_file: ${text(config.log.path)}\nlogfile_size_limit: ${config.log.maxBytes}`}
max_payload: ${MAX_PAYLOAD_BYTES}
max_connections: 100000
ping_interval: "60s"
ping_max: 2
write_deadline: "10s"
jetstream {
  store_dir: ${text(config.storeDir)}
  max_memory_store: ${config.maxMemoryBytes}
  max_file_store: ${config.maxDiskBytes}
}
tls {
  cert_file: ${text(config.certificatePath)}
  key_file: ${text(config.keyPath)}
  timeout: ${HANDSHAKE_SECONDS}
}
authorization {
  timeout: ${HANDSHAKE_SECONDS + 1}
}
operator: ${text(config.operatorJwt)}
system_account: ${text(config.systemAccountId)}
resolver: MEMORY
resolver_preload {
${Object.entries(config.accounts)
  .map(([id, jwt]) => `  ${id}: ${text(jwt)}`)
  .join("\n")}
}
`;
}

/** Quoted for NATS's configuration language. */
function text(value: string): string {
  if (/["\\\n\r]/.test(value)) throw new Error(`a NATS configuration value must not contain quotes, backslashes or line ends: ${value}`);
  return `"${value}"`;
}
