/**
 * Watches a cluster from the side, by kubectl and nobody's coordinator: every state that the API server had of some objects, in order, so that nothing
 * that was true for a moment only is missed.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { HandMadeCluster } from "../../testbed/full/cluster.ts";
import { eventually } from "../../testbed/program.ts";

export interface WatchedObject {
  readonly metadata: {
    readonly name: string;
    readonly deletionTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly unschedulable?: boolean };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** All objects by name, as they were after one change. */
export type WatchedState = ReadonlyMap<string, WatchedObject>;

export interface ClusterWatcher extends AsyncDisposable {
  /** One after each change since the watch began, the first with everything that was there then. */
  states(): Promise<readonly WatchedState[]>;
}

/** @param kind as kubectl names it; @param selector of labels, "": all */
export async function watchCluster(cluster: HandMadeCluster, directory: string, kind: string, selector: string): Promise<ClusterWatcher> {
  const logFile = join(directory, `watch-${kind}.json`);
  const words = ["get", kind, "--watch", "--output-watch-events", "--output=json", ...(selector === "" ? [] : [`--selector=${selector}`])];
  const program = await cluster.controlPlane.spawn("kubectl", ["--kubeconfig=/etc/kubernetes/admin.conf", ...words], logFile);
  let hasEnded = false;
  void program.ended.then(() => {
    hasEnded = true;
  });
  const states = async (): Promise<readonly WatchedState[]> => {
    if (hasEnded) throw new Error(`the watch of ${kind} has ended: what came after was not seen: ${(await program.log()).slice(-300)}`);
    return statesOf(eventsIn(await readFile(logFile, "utf8")));
  };
  await eventually(`${kind} are watched`, 30_000, async () => (await states()).length > 0);
  return { states, [Symbol.asyncDispose]: () => program.stop() };
}

interface WatchEvent {
  readonly type: string;
  readonly object: WatchedObject;
}

/** One line each; the last one may be half written. */
function eventsIn(text: string): readonly WatchEvent[] {
  const lines = text.split("\n").slice(0, -1);
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as WatchEvent);
}

/** What a watch tells first is what is there, one ADDED each: no state before all of it counts. */
function statesOf(events: readonly WatchEvent[]): readonly WatchedState[] {
  const states: WatchedState[] = [];
  let present = new Map<string, WatchedObject>();
  for (const { type, object } of events) {
    present = new Map(present);
    if (type === "DELETED") present.delete(object.metadata.name);
    else present.set(object.metadata.name, object);
    states.push(present);
  }
  return states;
}

/** Ready and not on its way out: what a PodDisruptionBudget counts. */
export function isHealthyPod({ metadata, status }: WatchedObject): boolean {
  const isReady = status?.conditions?.some((each) => each.type === "Ready" && each.status === "True") === true;
  return isReady && metadata.deletionTimestamp === undefined;
}
