/** What the laboratory in the bed can be asked, and the asking. */
import { request } from "node:http";
import { join } from "node:path";

export type Ending =
  | { readonly kind: "done"; readonly nodeId: string }
  | { readonly kind: "refused" | "unreachable"; readonly reason: string; readonly message: string };

/** What `drover token create -o json` says. */
export interface JoinToken {
  readonly joinToken: string;
  readonly caPin: string;
  readonly endpoint: string;
}

export interface Lines {
  /** As the server numbers the connection. */
  readonly natsClientId: number;
  /** Unix milliseconds; absent: open. */
  readonly natsEndedAtMs?: number;
  readonly sessionEndedAtMs?: number;
  /** What NATS refused on this connection. */
  readonly violations: number;
}

export interface Actions {
  /** Spends the token, as an agent does. */
  readonly enrol: { readonly asked: { readonly name: string; readonly token: JoinToken }; readonly answer: Ending };
  /** With the expired certificate in the node's state. */
  readonly recover: { readonly asked: { readonly name: string; readonly endpoint: string }; readonly answer: Ending };
  /** A NATS connection and a session, both held. */
  readonly open: { readonly asked: { readonly name: string }; readonly answer: Ending };
  readonly lines: { readonly asked: { readonly name: string }; readonly answer: Lines };
  /** A batch on the node's connection, in whatever name. */
  readonly report: {
    readonly asked: { readonly name: string; readonly bodyNode: string; readonly subjectNode: string; readonly marker: string };
    readonly answer: object;
  };
  /** A TLS server of another CA that sends the given certificates after its own. */
  readonly impostor: { readonly asked: { readonly host: string; readonly caPem: string }; readonly answer: { readonly port: number } };
  readonly recorded: {
    readonly asked: { readonly port: number };
    readonly answer: { readonly handshakes: number; readonly bytes: number };
  };
}

export function askLaboratory<A extends keyof Actions>(
  directory: string,
  action: A,
  asked: Actions[A]["asked"],
): Promise<Actions[A]["answer"]> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: join(directory, "socket"), path: `/${action}`, method: "POST", timeout: 30_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) resolve(JSON.parse(text) as Actions[A]["answer"]);
        else reject(new Error(`${action}: ${text}`));
      });
    });
    call.once("timeout", () => call.destroy(new Error(`${action}: the laboratory does not answer`)));
    call.once("error", reject);
    call.end(JSON.stringify(asked));
  });
}
