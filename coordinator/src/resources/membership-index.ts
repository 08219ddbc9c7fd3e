/** The membership of the present moment: computed again only when sets, nodes, their records or labels that a set asks for have changed. */
import type { Labels } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import { keys } from "../store/keys.ts";
import type { Catalog } from "./catalog.ts";
import { NodeMap } from "./node-map.ts";
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
const READ_PER_TURN = 2_000;

export class MembershipIndex {
  readonly #catalog: Catalog;
  readonly #fleet: FleetView;
  readonly #known: NodeMap<Held>;
  #current: Membership | undefined;
  /** Whether some set's selector asks for labels that facts give. */
  #isOfFacts = false;

  constructor(catalog: Catalog, fleet: FleetView) {
    this.#catalog = catalog;
    this.#fleet = fleet;
    this.#known = new NodeMap(catalog.numbers);
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

  /** Reads what the first look asks of every node, in turns: of 100,000 it would hold the loop for a second. */
  async prepare(): Promise<void> {
    const { nodes } = this.#catalog;
    let read = 0;
    for (const name of nodes.keys()) {
      this.#heldOf(name);
      read += 1;
      if (read % READ_PER_TURN === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  #made(): Membership {
    const sets = [...this.#catalog.objects("NodeSet").values()].map(({ value }) => value);
    this.#isOfFacts = sets.some(({ spec }) => asksForFacts(spec.selector));
    return membership(sets, this.#members(), this.#catalog.numbers);
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
    const { nodeRecords, nodes } = this.#catalog;
    const name = nodeRecords.field(nodeId, "name");
    if (name === undefined || nodeRecords.field(nodeId, "revokedAtMs") !== undefined) return undefined;
    const metadata = nodes.field(name, "metadata");
    return metadata && new Held(nodeId, name, metadata.labels ?? NO_LABELS, this.#fleet);
  }

  /** The same, of the node whose object has the name. */
  #heldOf(name: string): Held | undefined {
    const { nodeRecords, nodes } = this.#catalog;
    const { uid: nodeId = "", labels = NO_LABELS } = nodes.field(name, "metadata") ?? {};
    if (nodeRecords.field(nodeId, "name") !== name) return this.#knownNow(nodeId);
    return nodeRecords.field(nodeId, "revokedAtMs") === undefined ? new Held(nodeId, name, labels, this.#fleet) : undefined;
  }

  #members(): Held[] {
    const members: Held[] = [];
    const gone = new Set(this.#known.keys());
    const { nodes } = this.#catalog;
    for (const name of nodes.keys()) {
      const now = this.#heldOf(name);
      if (now === undefined) continue;
      const { nodeId } = now;
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
