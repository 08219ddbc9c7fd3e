/** What helps after a refusal: a command that can be run as it is printed, wherever there is one. */
import { type Kind, kindOf, kinds } from "@drover/api";
import { status } from "@grpc/grpc-js";

/** The parts of requests by which the command that helps is chosen. */
interface Asked {
  readonly kind?: unknown;
  readonly name?: unknown;
  readonly node?: unknown;
  readonly kubeconfig?: unknown;
  readonly json?: Uint8Array;
}

/** Where a certificate comes from. */
export const createOperator = "on the coordinator's machine: drover-coordinator operator create NAME --role viewer --out FILE";

/** How a kubeconfig is made that has everything in it. */
export const makeKubeconfig = "kubectl config view --raw --flatten --minify > FILE; chmod 600 FILE";

const helps: { readonly [S in status]?: (pluralKind: string | undefined, asked: Asked) => string | undefined } = {
  [status.UNAVAILABLE]: () => "on its machine: drover-coordinator doctor; the others you know: drover context list",
  [status.UNAUTHENTICATED]: () => createOperator,
  [status.PERMISSION_DENIED]: () => "drover whoami",
  [status.NOT_FOUND]: (plural) => plural && `drover get ${plural}`,
  [status.ABORTED]: (plural, { name }) =>
    plural && (typeof name === "string" ? `drover get ${plural} ${name} -o yaml` : `drover get ${plural}`),
  [status.INVALID_ARGUMENT]: (_plural, { kubeconfig }) => (kubeconfig === undefined ? undefined : makeKubeconfig),
  [status.DEADLINE_EXCEEDED]: () => "the same again with a longer deadline: drover --request-timeout 60s COMMAND",
};

export function nextStep(code: status, asked: Asked): string | undefined {
  const target = asked.json === undefined ? asked : targetOf(asked.json);
  const kind = kindAsked(target);
  return helps[code]?.(kind && kinds[kind].plural, target);
}

/** The coordinator is there, but something that it needs for this was not. */
export function nextAfterAnswer(asked: Asked): string {
  const kind = asked.json === undefined ? kindAsked(asked) : undefined;
  if (kind === "Node") return "drover get nodes -o wide";
  if (kind === "Cluster") return "see from the coordinator's machine whether the API server answers; then the same again";
  return "the same again in a moment";
}

function kindAsked({ kind, node, kubeconfig }: Asked): Kind | undefined {
  if (typeof kind === "string") return kindOf(kind);
  return node !== undefined ? "Node" : kubeconfig !== undefined ? "Cluster" : undefined;
}

/** @param json a manifest that we encoded ourselves */
function targetOf(json: Uint8Array): Asked {
  const { kind, metadata } = JSON.parse(Buffer.from(json).toString("utf8")) as { kind: string; metadata: { name: string } };
  return { kind, name: metadata.name };
}
