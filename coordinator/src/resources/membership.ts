/** Which NodeSet a node belongs to. A node that several sets select stays with the oldest of them; the others show the conflict. Pure. */
import { FACT_LABEL_PREFIX, factLabels, type Labels, matchesSelector, type Node, type NodeSet, type Selector } from "@drover/api";
import type { Facts } from "@drover/proto";
import { FadingMap } from "./fading-map.ts";
import { NodeMap, NodeNumbers } from "./node-map.ts";

export interface Member {
  readonly nodeId: string;
  readonly name: string;
  readonly labels: Labels;
}

export interface Candidate extends Member {
  /** Without those that its facts give. */
  readonly ownLabels: Labels;
}

export interface Contest {
  readonly member: Member;
  /** The older set, which keeps the node. */
  readonly owner: string;
}

export interface Membership {
  readonly setOf: Pick<ReadonlyMap<string, NodeSet>, "get">;
  /** By set name, ordered by node name; every set has an entry. */
  readonly membersOf: ReadonlyMap<string, readonly Member[]>;
  /** By set name: nodes it selects and does not have. */
  readonly contestsOf: ReadonlyMap<string, readonly Contest[]>;
}

/** @param numbers of the members' ids; left out: its own */
export function membership(sets: Iterable<NodeSet>, members: Iterable<Candidate>, numbers = new NodeNumbers()): Membership {
  const ordered = [...sets].sort(byAge);
  const ofFacts = new Set(ordered.filter(({ spec }) => asksForFacts(spec.selector)));
  const setOf = new NodeMap<NodeSet>(numbers);
  const membersOf = new Map<string, Member[]>(ordered.map((set) => [set.metadata.name, []]));
  const contestsOf = new Map<string, Contest[]>(ordered.map((set) => [set.metadata.name, []]));
  for (const member of [...members].sort((a, b) => compareNames(a.name, b.name))) {
    for (const set of ordered) {
      if (!matchesSelector(set.spec.selector, ofFacts.has(set) ? member.labels : member.ownLabels)) continue;
      const owner = setOf.get(member.nodeId);
      if (owner === undefined) {
        setOf.set(member.nodeId, set);
        membersOf.get(set.metadata.name)!.push(member);
      } else {
        contestsOf.get(set.metadata.name)!.push({ member, owner: owner.metadata.name });
      }
    }
  }
  return { setOf, membersOf, contestsOf };
}

/** Whether what a node's facts say may decide whether the selector matches: reading 100,000 nodes' facts takes seconds. */
export function asksForFacts({ matchLabels = {}, matchExpressions = [] }: Selector): boolean {
  return [...Object.keys(matchLabels), ...matchExpressions.map(({ key }) => key)].some((key) => key.startsWith(FACT_LABEL_PREFIX));
}

/** A node's own labels and those its facts give; its own win. */
export function labelsOf({ metadata }: Pick<Node, "metadata">, facts: Facts | undefined): Labels {
  return withFacts(metadata.labels ?? {}, facts);
}

export function withFacts(own: Labels, facts: Facts | undefined): Labels {
  return facts === undefined ? own : { ...cachedFactLabels(facts), ...own };
}

const labelsByFacts = new FadingMap<Facts, Labels>();

function cachedFactLabels(facts: Facts): Labels {
  let labels = labelsByFacts.get(facts);
  if (labels === undefined) labelsByFacts.set(facts, (labels = factLabels(facts)));
  return labels;
}

function byAge(a: NodeSet, b: NodeSet): number {
  return (
    compareNames(a.metadata.creationTimestamp ?? "", b.metadata.creationTimestamp ?? "") || compareNames(a.metadata.name, b.metadata.name)
  );
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
