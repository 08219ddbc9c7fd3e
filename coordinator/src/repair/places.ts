/**
 * The places that repairs take: whether one more node may be in change, by the budgets that rollouts keep too, by the caps of repairs and by the quorum of
 * control planes (I3). Counts what it gives away, so that one look never gives the same place twice. Pure.
 */
import { Budget, Topology } from "../rollout/budget.ts";
import { REMEDIATION, type RepairNode, type RepairSet, type RepairsInput, type RepairWaitReason } from "./model.ts";
import { isInFlight } from "./standing.ts";

/** No configuration moves these. */
const SHARE_OF_SET = 0.1;
const SHARE_OF_FLEET = 0.5;
const TOO_MANY_UNHEALTHY = 0.3;
/** One node that is unhealthy alone is no mass failure, however small its set is. */
const FEWEST_OF_A_MASS_FAILURE = 2;

export interface Hindrance {
  readonly reason: RepairWaitReason;
  readonly message: string;
}

export class Places {
  readonly #input: RepairsInput;
  readonly #nodes = new Map<string, RepairNode>();
  readonly #bySet = new Map<string, RepairNode[]>();
  readonly #taken = new Set<string>();
  /** By set; made anew after each place that is taken or given back. */
  readonly #budgets = new Map<string, Counted>();

  constructor(input: RepairsInput) {
    this.#input = input;
    for (const node of input.nodes) {
      this.#nodes.set(node.nodeId, node);
      if (node.set !== undefined) append(this.#bySet, node.set, node);
    }
    for (const repair of input.repairs) if (isInFlight(repair)) this.#taken.add(repair.spec.node);
  }

  take(nodeId: string): void {
    this.#taken.add(nodeId);
    this.#budgets.clear();
  }

  giveBack(nodeId: string): void {
    this.#taken.delete(nodeId);
    this.#budgets.clear();
  }

  /** Nodes of the set, whatever their standing. */
  membersOf(set: RepairSet): readonly RepairNode[] {
    return this.#bySet.get(set.name) ?? [];
  }

  /** What every repair obeys, whoever asked; an operator may repair the only node of a fleet. @param set of the node; undefined: none selects it, and no budget but the fleet's counts it */
  whyNot(node: RepairNode, set: RepairSet | undefined): Hindrance | undefined {
    const { fleetSize } = this.#input;
    const cap = Math.max(1, Math.floor(fleetSize * SHARE_OF_FLEET));
    if (this.#taken.size >= cap && !this.#taken.has(node.nodeId)) return this.#fleetSpent(cap);
    return this.whyNotQuorum(node, set) ?? (set === undefined ? undefined : this.#whyNotBudgets(node, set));
  }

  /** What repairs without being asked obey besides. */
  whyNotUnasked(node: RepairNode, set: RepairSet, topologyKey: string): Hindrance | undefined {
    const massive = this.whyTooMany(set);
    if (massive !== undefined) return massive;
    const cap = Math.floor(this.#input.fleetSize * SHARE_OF_FLEET);
    if (this.#taken.size >= cap) return this.#fleetSpent(cap);
    const domain = node.labels[topologyKey] ?? "";
    const neighbour = [...this.#taken].map((id) => this.#nodes.get(id)).find((other) => (other?.labels[topologyKey] ?? "") === domain);
    if (neighbour !== undefined) {
      const where = domain === "" ? `among the nodes without ${topologyKey}` : `where ${topologyKey} is ${domain}`;
      return { reason: "FailureDomainBusy", message: `${neighbour.name} is under repair ${where}; one at a time there` };
    }
    const limit = Math.max(1, Math.floor(set.size * SHARE_OF_SET));
    const own = this.membersOf(set).filter(({ nodeId }) => this.#taken.has(nodeId));
    if (own.length < limit) return undefined;
    return {
      reason: "SetRepairsSpent",
      message: `${named(own)} under repair; of ${set.size} nodes in NodeSet ${set.name} ${limit} at a time`,
    };
  }

  /** So many are unhealthy that the cause is hardly in each of them. */
  whyTooMany(set: RepairSet): Hindrance | undefined {
    const unhealthy = this.membersOf(set).filter(
      ({ nodeId, verdict }) => verdict === "unhealthy" || (verdict !== "healthy" && this.#taken.has(nodeId)),
    ).length;
    if (unhealthy < FEWEST_OF_A_MASS_FAILURE || unhealthy < set.size * TOO_MANY_UNHEALTHY) return undefined;
    const message = `${unhealthy} of ${set.size} nodes of NodeSet ${set.name} are unhealthy; from 30 % on nothing is repaired without being asked`;
    return { reason: "TooManyUnhealthy", message };
  }

  /** Control planes go one at a time, and the others must be a quorum of etcd without it. */
  whyNotQuorum(node: RepairNode, set: RepairSet | undefined): Hindrance | undefined {
    if (node.controlPlaneScope === undefined) return undefined;
    const members = this.#input.controlPlanes.get(node.controlPlaneScope)?.members;
    if (members === undefined) {
      return { reason: "QuorumUnknown", message: "it is a control plane, and its cluster has not said how the others are" };
    }
    const others = members.filter(({ nodeId, name }) => nodeId !== node.nodeId && (nodeId !== undefined || name !== node.name));
    const size = others.length + 1;
    if (size === 1) {
      if (set?.allowControlPlaneDowntime === true) return undefined;
      const message = "it is the only control plane of its cluster; spec.remediation.allowControlPlaneDowntime of its NodeSet allows that";
      return { reason: "ControlPlaneDowntime", message };
    }
    const isBusy = (nodeId: string | undefined): boolean =>
      nodeId !== undefined && (this.#taken.has(nodeId) || this.#nodes.get(nodeId)?.isInChange === true);
    const busy = others.find(({ nodeId }) => isBusy(nodeId));
    if (busy !== undefined) {
      return { reason: "QuorumAtRisk", message: `control plane ${busy.name} is in change; one at a time` };
    }
    const quorum = Math.floor(size / 2) + 1;
    const healthy = others.filter(({ isHealthy }) => isHealthy).length;
    if (healthy >= quorum) return undefined;
    const message = `of ${size} control planes ${healthy} others are healthy, and ${quorum} are needed for etcd's quorum`;
    return { reason: "QuorumAtRisk", message };
  }

  #fleetSpent(cap: number): Hindrance {
    const message = `${this.#taken.size} nodes are under repair; of ${this.#input.fleetSize} in the fleet never more than half, ${cap}`;
    return { reason: "FleetRepairsSpent", message };
  }

  #whyNotBudgets(node: RepairNode, set: RepairSet): Hindrance | undefined {
    // A node that somebody has in change already is counted, and moves nobody else.
    if (this.#isInChange(node)) return undefined;
    const { budget, topology } = this.#counted(set);
    const place = topology.placeOf(node.labels);
    const reason = budget.refusal(place, node.isUnavailable);
    if (reason === undefined) return undefined;
    const spent = this.membersOf(set).filter((other) => this.#isUnavailable(other));
    return { reason, message: budget.explain(place, node.isUnavailable, reason, named(spent)) };
  }

  /** As rollouts count: nodes of the set, and those of other sets in the same cluster in keys of topology. */
  #counted(set: RepairSet): Counted {
    const held = this.#budgets.get(set.name);
    if (held !== undefined) return held;
    const own = this.membersOf(set);
    const topology = new Topology(set.strategy);
    const places = own.map(({ labels }) => topology.add(labels));
    const others = this.#input.nodes.filter(
      (other) => other.set !== undefined && other.set !== set.name && other.cluster === set.cluster && this.#isUnavailable(other),
    );
    const elsewhere = others.map((other) => ({ name: other.name, labels: other.labels, isInChange: this.#isInChange(other) }));
    // Values that only others have are to be known before they are counted.
    for (const { labels } of elsewhere) topology.placeOf(labels);
    const budget = new Budget(set.strategy, topology, elsewhere);
    for (const [index, node] of own.entries()) if (this.#isUnavailable(node)) budget.count(places[index]!, this.#isInChange(node));
    const counted = { budget, topology };
    this.#budgets.set(set.name, counted);
    return counted;
  }

  #isInChange({ nodeId, isInChange }: RepairNode): boolean {
    return isInChange || this.#taken.has(nodeId);
  }

  #isUnavailable(node: RepairNode): boolean {
    return node.isUnavailable || this.#isInChange(node);
  }
}

interface Counted {
  readonly budget: Budget;
  readonly topology: Topology;
}

/** Whether nobody asked for it. */
export function isUnasked(requestedBy: string): boolean {
  return requestedBy === REMEDIATION;
}

function named(nodes: readonly RepairNode[]): string {
  const some = nodes.slice(0, 5).map(({ name }) => name);
  return nodes.length > some.length ? `${some.join(", ")} and ${nodes.length - some.length} more` : some.join(", ");
}

function append(map: Map<string, RepairNode[]>, key: string, node: RepairNode): void {
  const held = map.get(key);
  if (held === undefined) map.set(key, [node]);
  else held.push(node);
}
