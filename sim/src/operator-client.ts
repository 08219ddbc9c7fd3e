/** An operator on mTLS, from a context file as drover reads it. */
import { readFileSync } from "node:fs";
import { OperatorClient } from "@drover/proto";
import { credentials } from "@grpc/grpc-js";
import { parse } from "yaml";

interface ContextFile {
  readonly contexts: readonly {
    readonly endpoint: string;
    readonly caPem: string;
    readonly certificatePem: string;
    readonly keyPem: string;
  }[];
}

export function operatorClient(contextFile: string): OperatorClient {
  const [context] = (parse(readFileSync(contextFile, "utf8")) as ContextFile).contexts;
  if (context === undefined) throw new Error(`${contextFile} holds no context`);
  const { endpoint, caPem, keyPem, certificatePem } = context;
  const tls = credentials.createSsl(Buffer.from(caPem), Buffer.from(keyPem), Buffer.from(certificatePem));
  return new OperatorClient(endpoint, tls, { "grpc.max_receive_message_length": 64 * 1024 * 1024 });
}
