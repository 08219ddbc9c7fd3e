/** Reads what an operator asks for: which nodes, which rungs, which units. All of it is right, or nothing is begun. Pure but for reading. */
import { didYouMean, kinds, matchesSelector, mayRestart, parseSelector, type Repair, type Rung } from "@drover/api";
import type { CreateRepairsRequest } from "@drover/proto";
import type { NodeRecord } from "../records.ts";
import { type Refusal, refuse } from "../refusal.ts";
import type { Catalog } from "../resources/catalog.ts";
import type { MembershipIndex } from "../resources/membership-index.ts";
import type { View } from "../resources/view.ts";
import { hasEnded } from "./standing.ts";

type Spec = Repair["spec"];

export interface RepairsAskedParts {
  readonly catalog: Catalog;
  readonly members: MembershipIndex;
  readonly view: Pick<View, "list">;
}

const schema = kinds.Repair.schema.shape.spec.shape;
const RUNGS: readonly Rung[] = schema.rungs.element.options;
const DEFAULT_RUNGS: readonly Rung[] = ["RestartUnits", "Reapply", "Repull", "Rejoin", "HandOver"];
const DEFAULT_UNITS = ["containerd.service", "kubelet.service"];
const MAX_REASON = 1024;
const MAX_UNITS = 16;
/** Names no options and no paths: it ends as an argument of systemctl. */
const UNIT = /^[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,200}\.(service|socket|mount|timer)$/;

export type RepairsAsked = { readonly ok: true; readonly specs: readonly Spec[] } | Refusal;

export function repairsAsked(parts: RepairsAskedParts, request: CreateRepairsRequest, actor: string): RepairsAsked {
  const wrong = wrongRungs(request.rungs) ?? wrongUnits(request.units) ?? wrongReason(request.reason);
  if (wrong !== undefined) return wrong;
  const nodes = nodesAsked(parts, request);
  if (!nodes.ok) return nodes;
  const specs: Spec[] = [];
  for (const record of nodes.records) {
    const refusal = whyNot(parts, record);
    if (refusal !== undefined) return refusal;
    specs.push(specOf(parts, record, request, actor));
  }
  return { ok: true, specs };
}

function specOf({ members }: RepairsAskedParts, { nodeId, name }: NodeRecord, request: CreateRepairsRequest, actor: string): Spec {
  const remediation = members.current().setOf.get(nodeId)?.spec.remediation;
  const rungs = request.rungs.length > 0 ? (request.rungs as Rung[]) : [...(remediation?.rungs ?? DEFAULT_RUNGS)];
  const units = request.units.length > 0 ? request.units : [...(remediation?.units ?? DEFAULT_UNITS)];
  const restarts = rungs.includes("RestartUnits") ? { units } : {};
  return { node: nodeId, nodeName: name, rungs, ...restarts, reason: request.reason, requestedBy: actor };
}

function whyNot({ catalog }: RepairsAskedParts, { nodeId, name, revokedAtMs }: NodeRecord): Refusal | undefined {
  if (revokedAtMs !== undefined) {
    return { ok: false, status: "FAILED_PRECONDITION", reason: "NodeRevoked", message: `node ${name} is revoked; enrol the machine anew` };
  }
  for (const { value } of catalog.objects("Repair").values()) {
    if (value.spec.node !== nodeId || hasEnded(value)) continue;
    const message = `node ${name} is under repair already: ${value.metadata.name}; wait for it, or: drover repair cancel ${value.metadata.name}`;
    return { ok: false, status: "FAILED_PRECONDITION", reason: "UnderRepair", message };
  }
  return undefined;
}

type NodesAsked = { readonly ok: true; readonly records: readonly NodeRecord[] } | Refusal;

/** Names say for themselves how many they are; of a selector the operator has to know (I7). */
function nodesAsked({ catalog, view }: RepairsAskedParts, request: CreateRepairsRequest): NodesAsked {
  const { nodes, labelSelector, confirmedNodes } = request;
  if (nodes.length > 0 && labelSelector !== "") return refuse("InvalidRequest", "name nodes or give a selector, not both");
  if (nodes.length > 0) return named(catalog, nodes);
  if (labelSelector === "")
    return refuse("InvalidSelector", "an empty selector is an error, not 'all': name nodes, or select them by labels");
  const parsing = parseSelector(labelSelector);
  if (!parsing.ok) return refuse("InvalidSelector", `label_selector, column ${parsing.column}: ${parsing.message}`);
  const selected = view.list("Node", undefined).filter(({ labels }) => matchesSelector(parsing.selector, labels));
  const records = selected.flatMap(({ object }) => catalog.nodeRecords.get(object.metadata.uid ?? "")?.value ?? []);
  const known = records.filter(({ revokedAtMs }) => revokedAtMs === undefined);
  if (known.length === 0) return refuse("NotFound", `${labelSelector} selects no node; see: drover get nodes --show-labels`);
  if (confirmedNodes !== known.length) {
    const said = confirmedNodes === 0 ? "no count was confirmed" : `${confirmedNodes} were confirmed`;
    return refuse("InvalidRequest", `${labelSelector} selects ${known.length} nodes, and ${said}; confirm ${known.length} to repair them`);
  }
  return { ok: true, records: known };
}

function named(catalog: Catalog, names: readonly string[]): NodesAsked {
  const records: NodeRecord[] = [];
  for (const name of names) {
    const record = catalog.nodeRecordOf(name)?.value;
    if (record === undefined) {
      return refuse(
        "NotFound",
        `there is no Node ${JSON.stringify(name.slice(0, 80))}${didYouMean(name, [...catalog.objects("Node").keys()])}`,
      );
    }
    if (!records.some(({ nodeId }) => nodeId === record.nodeId)) records.push(record);
  }
  return { ok: true, records };
}

function wrongRungs(rungs: readonly string[]): Refusal | undefined {
  for (const [index, rung] of rungs.entries()) {
    if (!RUNGS.includes(rung as Rung)) {
      const text = JSON.stringify(rung.slice(0, 80));
      return refuse("InvalidRequest", `rungs: there is no rung ${text}${didYouMean(rung, RUNGS) || `; rungs are ${RUNGS.join(", ")}`}`);
    }
    if (rung === "HandOver" && index < rungs.length - 1)
      return refuse("InvalidRequest", "rungs: after HandOver nothing is done by itself any more");
  }
  return rungs.length > 20 ? refuse("InvalidRequest", "rungs: at most 20") : undefined;
}

function wrongUnits(units: readonly string[]): Refusal | undefined {
  if (units.length > MAX_UNITS) return refuse("InvalidRequest", `units: at most ${MAX_UNITS}`);
  for (const unit of units) {
    const text = JSON.stringify(unit.slice(0, 80));
    if (!UNIT.test(unit)) return refuse("InvalidRequest", `units: ${text} is no unit such as kubelet.service`);
    if (!mayRestart(unit))
      return refuse(
        "InvalidRequest",
        `units: ${text} is not restarted by a repair; the machine or the agent that does it would go down with it`,
      );
  }
  return undefined;
}

function wrongReason(reason: string): Refusal | undefined {
  return reason.length > MAX_REASON ? refuse("InvalidRequest", `reason is longer than ${MAX_REASON} characters`) : undefined;
}
