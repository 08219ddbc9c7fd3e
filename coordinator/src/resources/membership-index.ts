/** The membership of the present moment: computed again only when sets, nodes, their records or labels that a set asks for have changed. */
import type { Labels } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import { keys } from "../store/keys.ts";
import type { Catalog } from "./catalog.ts";
import { asksForFacts, type Candidate, type Membership, membership, withFacts } from "./membership.ts";

/** What is known of a node that decides on its membership. Labels that its facts give are worked out when somebody asks for them. */
class Held implements Candidate {
  readonly nodeId: string;
  readonly name: string;
  readonly ownLabels: Labels;
  /** As they were when sets were matched with them; undefined: no set asks for facts. */
  matched: Labels | undefined;
  readonly #fleet: FleetView;

  constructor(nodeId: string, name: string, ownLabels: Labels, fleet: FleetView) {
    this.nodeId = nodeId;
    this.name = name;
    this.ownLabels = ownLabels;
    this.#fleet = fleet;
  }

  get labels(): Labels {
    return withFacts(this.ownLabels, this.#fleet.node(this.nodeId)?.facts);
  }
}

const NO_LABELS: Labels = {};

export class MembershipIndex {
  readonly #catalog: Catalog;
  readonly #fleet: FleetView;
  readonly #known = new Map<string, Held>();
  #current: Membership | undefined;
  /** Whether some set's selector asks for labels that facts give. */
  #isOfFacts = false;

  constructor(catalog: Catalog, fleet: FleetView) {
    this.#catalog = catalog;
    this.#fleet = fleet;
    catalog.onChange((changes) => {
      const isOurs = ({ key }: { readonly key: string }): boolean =>
        key.startsWith(keys.objectsOf("NodeSet")) ||
        key.startsWith(keys.objectsOf("Node")) ||
        (key.startsWith(keys.nodes) && this.#hasChanged(key.slice(keys.nodes.length)));
      if (this.#current !== undefined && changes.some(isOurs)) this.#current = undefined;
    });
    fleet.onChange((nodeIds) => {
      if (this.#current !== undefined && this.#isOfFacts && nodeIds.some((nodeId) => this.#hasChanged(nodeId))) this.#current = undefined;
    });
  }

  current(): Membership {
    this.#current ??= this.#made();
    return this.#current;
  }

  #made(): Membership {
    const sets = [...this.#catalog.objects("NodeSet").values()].map(({ value }) => value);
    this.#isOfFacts = sets.some(({ spec }) => asksForFacts(spec.selector));
    return membership(sets, this.#members());
  }

  /** A renewed certificate, or facts that give the same labels, move nobody. */
  #hasChanged(nodeId: string): boolean {
    const known = this.#known.get(nodeId);
    const now = this.#knownNow(nodeId);
    if (known === undefined || now === undefined) return known !== now;
    return !isAlike(known, now) || (this.#isOfFacts && !isSame(known.matched, now.labels));
  }

  /** undefined: it is in no set, as revoked nodes are. */
  #knownNow(nodeId: string): Held | undefined {
    const record = this.#catalog.nodeRecords.look(nodeId);
    const node = record === undefined ? undefined : this.#catalog.nodes.look(record.name);
    if (record === undefined || record.revokedAtMs !== undefined || node === undefined) return undefined;
    return new Held(nodeId, record.name, node.metadata.labels ?? NO_LABELS, this.#fleet);
  }

  #members(): Held[] {
    const members: Held[] = [];
    const gone = new Set(this.#known.keys());
    for (const { value: node } of this.#catalog.nodes.values()) {
      const nodeId = node.metadata.uid ?? "";
      const now = this.#knownNow(nodeId);
      if (now === undefined) continue;
      gone.delete(nodeId);
      const held = this.#known.get(nodeId);
      const member = held !== undefined && isAlike(held, now) ? held : now;
      member.matched = this.#isOfFacts ? member.labels : undefined;
      if (member !== held) this.#known.set(nodeId, member);
      members.push(member);
    }
    for (const nodeId of gone) this.#known.delete(nodeId);
    return members;
  }
}

function isAlike(one: Held, other: Held): boolean {
  return one.name === other.name && isSame(one.ownLabels, other.ownLabels);
}

function isSame(one: Labels | undefined, other: Labels | undefined): boolean {
  if (one === other) return true;
  if (one === undefined || other === undefined) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
