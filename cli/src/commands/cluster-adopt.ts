/** `drover cluster adopt NAME --kubeconfig FILE|- [--endpoint HOST:PORT]`: takes a cluster into care, or renews its kubeconfig. */
import { ApplyOutcome } from "@drover/proto";
import { decodeObject, type Session } from "../session.ts";
import { describeCluster } from "./describe-cluster.ts";
import { readKubeconfig } from "./kubeconfig-file.ts";

const words: { readonly [K in ApplyOutcome]?: string } = {
  [ApplyOutcome.APPLY_OUTCOME_CREATED]: "adopted",
  [ApplyOutcome.APPLY_OUTCOME_CONFIGURED]: "adopted anew",
  [ApplyOutcome.APPLY_OUTCOME_UNCHANGED]: "unchanged",
};

/** The coordinator asks the cluster several things before it answers. */
const ADOPT_MS = 60_000;

export async function adoptCluster(session: Session, name: string, path: string, endpoint: string): Promise<void> {
  const kubeconfig = await readKubeconfig(session, path);
  const request = { name, endpoint, kubeconfig: Buffer.from(kubeconfig.reveal()) };
  const answer = await session.connect().call("adoptCluster", request, ADOPT_MS);
  const object = decodeObject(answer.object);
  session.print(`cluster/${object.metadata.name} ${words[answer.outcome] ?? "adopted"}`);
  for (const warning of answer.warnings) session.warn(`warning: ${warning}`);
  if (object.kind !== "Cluster") return;
  session.print(describeCluster(object).split("\n").slice(1).join("\n"));
  session.print(`nodes of a NodeSet join it when the set says: spec: { cluster: ${object.metadata.name} }`);
}
